//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Turns the connections of enrolled processes to the proxy. Only UAPI contexts
// are used, so that the programs load unchanged from 5.15 on.
//
// Two loads of this file stand behind each enrolled process. One is attached to its cgroup and runs by
// the socket's cgroup: it catches what was made there, wherever it was
// carried. The other is attached to the root and decides by the current task: it catches
// sockets made before enrollment or passed in. The inner one runs first.

#include "address.h"
#include "backstop.h"
#include "handover.h"
#include "settings.h"

/* Finds the socket's storage and says whether there is something left to
 * decide. The root's program runs after the socket's own, whatever that one said, and a denial of
 * either is final: so it does not judge, or count, a second time. The mark is
 * taken off each time: without a program of its own the socket is the root's to judge. */
static __always_inline int approach(struct bpf_sock_addr *ctx, __u32 who, struct origin **found)
{
	struct bpf_sock *sk = ctx->sk;
	struct origin *o = NULL;
	__u32 decided;

	if (sk)
		o = bpf_sk_storage_get(&origins, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o)
		return deny(who, CONNECT_UNREMEMBERED);
	*found = o;
	if (enrollment) {
		o->decided = enrollment;
		return UNDECIDED;
	}
	decided = o->decided;
	o->decided = 0;
	if (!decided)
		return UNDECIDED;
	if (decided == who)
		return ALLOW;
	return deny(who, CONNECT_FOREIGN);
}

/* Writes down where the socket wanted to go, and who asked. */
static __always_inline void remember(struct bpf_sock_addr *ctx, struct origin *o, const union address *to, __u32 port, __u32 who)
{
	__u64 id = bpf_get_current_pid_tgid();

	__builtin_memcpy(o->addr, to->bytes, sizeof(o->addr));
	o->port = port;
	o->enrollment = who;
	o->cookie = bpf_get_socket_cookie(ctx);
	o->cgroup = bpf_get_current_cgroup_id();
	o->netns = proxy_netns;
	o->time = bpf_ktime_get_ns();
	o->tgid = id >> 32;
	o->tid = (__u32)id;
	o->uid = (__u32)bpf_get_current_uid_gid();
	o->armed = 1;
}

/* Remembers the destination, or denies: an enrolled socket that cannot be remembered is refused. */
static __always_inline int turn(struct bpf_sock_addr *ctx, union address *to, __u32 port)
{
	__u32 who = deciding();
	struct origin *o = NULL;
	int verdict;

	if (!who)
		return ALLOW;
	verdict = approach(ctx, who, &o);
	if (verdict != UNDECIDED || !o)
		return verdict;
	o->armed = 0;
	settle(to);
	if (ctx->protocol == IPPROTO_UDP && ctx->type == SOCK_DGRAM && port == DNS_PORT) {
		tally(who, DATAGRAM_DNS);
		return ALLOW;
	}
	if (ctx->protocol != IPPROTO_TCP || ctx->type != SOCK_STREAM)
		return deny(who, CONNECT_PROTOCOL);
	if (port == proxy_port && is_loopback(to))
		return deny(who, CONNECT_TO_PROXY);
	if (bpf_get_netns_cookie(ctx) != proxy_netns)
		return deny(who, CONNECT_NETNS);
	remember(ctx, o, to, port, who);
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
	struct origin *o;
	int verdict;

	if (!who)
		return ALLOW;
	verdict = approach(ctx, who, &o);
	if (verdict != UNDECIDED)
		return verdict;
	if (ctx->protocol == IPPROTO_UDP && port_of(ctx) == DNS_PORT) {
		tally(who, DATAGRAM_DNS);
		return ALLOW;
	}
	return deny(who, DATAGRAM_DENIED);
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

/* What to answer a program that asks who it is connected to: where it wanted
 * to go. Who is not connected to the proxy's port costs one comparison. */
static __always_inline struct origin *lie(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk || port_of(ctx) != proxy_port)
		return NULL;
	return bpf_sk_storage_get(&origins, sk, 0, 0);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct origin *o = lie(ctx);

	if (!o)
		return ALLOW;
	ctx->user_ip4 = ((union address *)o->addr)->words[3];
	ctx->user_port = bpf_htons((__u16)o->port);
	return ALLOW;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct origin *o = lie(ctx);
	union address *to;

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

static __always_inline __u32 refused(struct bpf_sock *sk)
{
	__u32 type = sk->type, protocol = sk->protocol;

	if (type == SOCK_RAW)
		return SOCKET_RAW;
	switch (protocol) {
	case IPPROTO_MPTCP:
		return SOCKET_MPTCP;
	case IPPROTO_UDPLITE:
		return SOCKET_UDPLITE;
	case IPPROTO_SCTP:
		return SOCKET_SCTP;
	}
	return type == SOCK_DGRAM ? SOCKET_PING : SOCKET_OTHER;
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
	return deny(enrollment, refused(sk));
}

/* Whoever holds the proxy's port while the daemon is away gets the connections of
 * others: TCP, where the proxy listens, on an address that takes loopback's. At the root: only
 * root outside of all enrollments may. */
static __always_inline int may_bind(struct bpf_sock_addr *ctx, union address *at)
{
	__u32 who;

	if (port_of(ctx) != proxy_port || ctx->type != SOCK_STREAM)
		return ALLOW;
	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_MPTCP)
		return ALLOW;
	settle(at);
	if (!is_loopback(at) || bpf_get_netns_cookie(ctx) != proxy_netns)
		return ALLOW;
	who = deciding();
	if (!who && !(__u32)bpf_get_current_uid_gid())
		return ALLOW;
	return deny(who, BIND_DENIED);
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	union address at;

	from4(&at, ctx->user_ip4);
	return may_bind(ctx, &at);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	union address at;

	at.words[0] = ctx->user_ip6[0];
	at.words[1] = ctx->user_ip6[1];
	at.words[2] = ctx->user_ip6[2];
	at.words[3] = ctx->user_ip6[3];
	return may_bind(ctx, &at);
}

char licence[] SEC("license") = "Dual BSD/GPL";
