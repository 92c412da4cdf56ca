/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hands the origin from the client's socket to the one the proxy accepts.
 *
 *   client's socket          handovers                 accepted socket
 *   origins[sk] --SYN--> [netns, addr, port] --ACK--> arrivals[sk]
 *
 * Attached to the root, though each TCP connection of the host calls it some nine times: a
 * socket that was made before its process was enrolled, or handed over to it, has another cgroup than
 * any that is enrolled, and the proxy may be started in any. Most of what that
 * costs is the kernel's own way to a program: 25 ns a call beside another's, some 90 for the first on a host. */
#ifndef CHAPERONE_HANDOVER_H
#define CHAPERONE_HANDOVER_H

#include "address.h"
#include "settings.h"

#define STATE_CLOSE 7 /* TCP_CLOSE, include/net/tcp_states.h */

/* The client's address as its own socket has it. The loads are apart, or
 * clang merges them into pointer arithmetic on the context. */
static __always_inline void local(struct bpf_sock_ops *ctx, struct caller *c)
{
	union address a;

	if (ctx->family == AF_INET) {
		__u32 ip = ctx->local_ip4;

		barrier_var(ip);
		from4(&a, ip);
	} else {
		__u32 w0 = ctx->local_ip6[0], w1 = ctx->local_ip6[1];
		__u32 w2 = ctx->local_ip6[2], w3 = ctx->local_ip6[3];

		barrier_var(w0);
		barrier_var(w1);
		barrier_var(w2);
		barrier_var(w3);
		a.words[0] = w0;
		a.words[1] = w1;
		a.words[2] = w2;
		a.words[3] = w3;
	}
	__builtin_memcpy(c->addr, a.bytes, sizeof(c->addr));
	c->port = ctx->local_port;
	c->netns = bpf_get_netns_cookie(ctx);
}

/* The client's address as the proxy's socket has it. */
static __always_inline void remote(struct bpf_sock_ops *ctx, struct caller *c)
{
	union address a;

	if (ctx->family == AF_INET) {
		__u32 ip = ctx->remote_ip4;

		barrier_var(ip);
		from4(&a, ip);
	} else {
		__u32 w0 = ctx->remote_ip6[0], w1 = ctx->remote_ip6[1];
		__u32 w2 = ctx->remote_ip6[2], w3 = ctx->remote_ip6[3];

		barrier_var(w0);
		barrier_var(w1);
		barrier_var(w2);
		barrier_var(w3);
		a.words[0] = w0;
		a.words[1] = w1;
		a.words[2] = w2;
		a.words[3] = w3;
	}
	__builtin_memcpy(c->addr, a.bytes, sizeof(c->addr));
	c->port = bpf_ntohl(ctx->remote_port);
	c->netns = bpf_get_netns_cookie(ctx);
}

/* The client's SYN is about to leave; its port is known. */
static __always_inline void depart(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct caller key = {};
	struct origin *o;

	if (bpf_ntohl(ctx->remote_port) != proxy_port || !sk)
		return;
	o = bpf_sk_storage_get(&origins, sk, 0, 0);
	if (!o || !o->armed)
		return;
	o->armed = 0;
	local(ctx, &key);
	if (bpf_map_update_elem(&handovers, &key, o, BPF_ANY)) {
		tally(o->enrollment, HANDOVER_FULL);
		return;
	}
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* The handshake is complete at the proxy's end, before accept() returns it. */
static __always_inline void arrive(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct caller key = {};
	struct origin *from, *to;

	if (ctx->local_port != proxy_port || !sk)
		return;
	remote(ctx, &key);
	from = bpf_map_lookup_elem(&handovers, &key);
	if (!from)
		return;
	to = bpf_sk_storage_get(&arrivals, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (to) {
		__builtin_memcpy(to, from, sizeof(*to));
		tally(to->enrollment, HANDED_OVER);
	}
	bpf_map_delete_elem(&handovers, &key);
}

/* A client's socket closes. What it left behind is taken away, unless a
 * later socket with the same port has put its own there. */
static __always_inline void give_up(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct caller key = {};
	struct origin *o, *left;

	if (ctx->args[1] != STATE_CLOSE || bpf_ntohl(ctx->remote_port) != proxy_port || !sk)
		return;
	o = bpf_sk_storage_get(&origins, sk, 0, 0);
	if (!o)
		return;
	local(ctx, &key);
	left = bpf_map_lookup_elem(&handovers, &key);
	if (left && left->cookie == o->cookie)
		bpf_map_delete_elem(&handovers, &key);
}

/* An enrolled process serves others of this host: its own tests' servers, and what the
 * proxy dials for it. Attached to the enrolled cgroup; see may_serve in backstop.h. */
SEC("sockops")
int serve(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct caller here = {}, there = {};

	if (ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB || !sk)
		return 1;
	local(ctx, &here);
	remote(ctx, &there);
	if (is_loopback((union address *)here.addr) && is_loopback((union address *)there.addr))
		bpf_sk_storage_get(&accepted, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	return 1;
}

SEC("sockops")
int handover(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		depart(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		arrive(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		give_up(ctx);
		break;
	}
	return 1;
}

#endif
