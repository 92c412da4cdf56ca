//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Turns the connections of enrolled processes to the proxy. Only UAPI contexts
// are used, so that the programs load unchanged from 5.10 on.
//
// Two loads of this file stand behind each enrolled process. One is attached to its cgroup and runs by
// the socket's cgroup: it catches what was made there, wherever it was
// carried. The other is attached to the root and decides by the current task: it catches
// sockets made before enrollment or passed in. The inner one runs first.

#include "address.h"
#include "backstop.h"
#include "handover.h"
#include "settings.h"

/* The inner program has turned this connect already, and for the same
 * enrollment: the root has nothing to add. */
static __always_inline int turned(struct origin *o, const union address *to, __u32 port, __u32 who)
{
	return !enrollment && o && o->enrollment == who && port == proxy_port && is_loopback(to);
}

/* Remembers the destination, or denies: an enrolled socket that cannot be remembered is refused. */
static __always_inline int turn(struct bpf_sock_addr *ctx, union address *to, __u32 port)
{
	struct bpf_sock *sk = ctx->sk;
	struct origin *o;
	__u32 who = deciding();
	__u64 id;

	if (!who)
		return ALLOW;
	settle(to);
	if (ctx->protocol == IPPROTO_UDP && ctx->type == SOCK_DGRAM && port == DNS_PORT) {
		tally(who, DATAGRAM_DNS);
		return ALLOW;
	}
	if (ctx->protocol != IPPROTO_TCP || ctx->type != SOCK_STREAM) {
		tally(who, CONNECT_PROTOCOL);
		return DENY;
	}
	if (!sk)
		return DENY;
	o = bpf_sk_storage_get(&origins, sk, 0, 0);
	if (turned(o, to, port, who))
		return ALLOW;
	if (port == proxy_port && is_loopback(to)) {
		tally(who, CONNECT_TO_PROXY);
		return DENY;
	}
	if (!enrollment && o && o->enrollment != who) {
		tally(who, CONNECT_FOREIGN);
		return DENY;
	}
	if (bpf_get_netns_cookie(ctx) != proxy_netns) {
		tally(who, CONNECT_NETNS);
		return DENY;
	}
	o = bpf_sk_storage_get(&origins, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o) {
		tally(who, CONNECT_UNREMEMBERED);
		return DENY;
	}
	id = bpf_get_current_pid_tgid();
	__builtin_memcpy(o->addr, to->bytes, sizeof(o->addr));
	o->port = port;
	o->enrollment = who;
	o->cookie = bpf_get_socket_cookie(ctx);
	o->cgroup = bpf_get_current_cgroup_id();
	o->netns = proxy_netns;
	o->time = bpf_ktime_get_ns();
	o->tgid = id >> 32;
	o->uid = (__u32)bpf_get_current_uid_gid();
	tally(who, CONNECT_REDIRECTED);
	return TURNED;
}

static __always_inline __u32 port_of(struct bpf_sock_addr *ctx)
{
	return bpf_ntohs((__u16)ctx->user_port);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	union address to;
	int verdict;

	from4(&to, ctx->user_ip4);
	verdict = turn(ctx, &to, port_of(ctx));
	if (verdict != TURNED)
		return verdict;
	ctx->user_ip4 = LOOPBACK4;
	ctx->user_port = bpf_htons((__u16)proxy_port);
	return ALLOW;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	union address to;
	int verdict, mapped;

	to.words[0] = ctx->user_ip6[0];
	to.words[1] = ctx->user_ip6[1];
	to.words[2] = ctx->user_ip6[2];
	to.words[3] = ctx->user_ip6[3];
	mapped = is_mapped(&to);
	verdict = turn(ctx, &to, port_of(ctx));
	if (verdict != TURNED)
		return verdict;
	ctx->user_ip6[0] = 0;
	ctx->user_ip6[1] = 0;
	ctx->user_ip6[2] = mapped ? MAPPED : 0;
	ctx->user_ip6[3] = mapped ? LOOPBACK4 : bpf_htonl(1);
	ctx->user_port = bpf_htons((__u16)proxy_port);
	return ALLOW;
}

/* Unconnected datagrams: DNS or nothing. */
static __always_inline int send(struct bpf_sock_addr *ctx)
{
	__u32 who = deciding();

	if (!who)
		return ALLOW;
	if (ctx->protocol == IPPROTO_UDP && port_of(ctx) == DNS_PORT) {
		tally(who, DATAGRAM_DNS);
		return ALLOW;
	}
	tally(who, DATAGRAM_DENIED);
	return DENY;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return send(ctx);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return send(ctx);
}

/* The program asks who it is connected to: where it wanted to go. At the root. */
SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct origin *o;

	if (!sk)
		return ALLOW;
	o = bpf_sk_storage_get(&origins, sk, 0, 0);
	if (!o)
		return ALLOW;
	ctx->user_ip4 = ((union address *)o->addr)->words[3];
	ctx->user_port = bpf_htons((__u16)o->port);
	return ALLOW;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	union address *to;
	struct origin *o;

	if (!sk)
		return ALLOW;
	o = bpf_sk_storage_get(&origins, sk, 0, 0);
	if (!o)
		return ALLOW;
	to = (union address *)o->addr;
	ctx->user_ip6[0] = to->words[0];
	ctx->user_ip6[1] = to->words[1];
	ctx->user_ip6[2] = to->words[2];
	ctx->user_ip6[3] = to->words[3];
	ctx->user_port = bpf_htons((__u16)o->port);
	return ALLOW;
}

/* Sockets that no connect hook would see are not made. MPTCP is refused too: its
 * hook runs on a subflow, so that getpeername could not be answered; programs fall back to TCP. */
SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *sk)
{
	if (sk->type == SOCK_STREAM && (sk->protocol == 0 || sk->protocol == IPPROTO_TCP))
		return ALLOW;
	if (sk->type == SOCK_DGRAM && (sk->protocol == 0 || sk->protocol == IPPROTO_UDP))
		return ALLOW;
	tally(enrollment, SOCKET_DENIED);
	return DENY;
}

/* Whoever holds the proxy's port gets the connections of others. */
static __always_inline int may_bind(struct bpf_sock_addr *ctx)
{
	if (port_of(ctx) != proxy_port)
		return ALLOW;
	tally(enrollment, BIND_DENIED);
	return DENY;
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	return may_bind(ctx);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	return may_bind(ctx);
}

char licence[] SEC("license") = "Dual BSD/GPL";
