/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What stands behind the connect hooks: socket options that steer packets or hold them up, and
 * the packets themselves. Attached to the enrolled cgroup. */
#ifndef CHAPERONE_BACKSTOP_H
#define CHAPERONE_BACKSTOP_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "address.h"
#include "settings.h"

/* Levels and names of socket options, from the kernel's UAPI headers. */
#define LEVEL_SOCKET 1
#define LEVEL_IP 0
#define LEVEL_TCP 6
#define LEVEL_IPV6 41
#define LEVEL_PACKET 263
#define LEVEL_XDP 283
#define BINDTODEVICE 25
#define BINDTOIFINDEX 62
#define IP_OPTIONS 4
#define IP_HDRINCL 3
#define IPV6_2292HOPOPTS 3
#define IPV6_2292DSTOPTS 4
#define IPV6_2292RTHDR 5
#define IPV6_2292PKTOPTIONS 6
#define IPV6_HOPOPTS 54
#define IPV6_RTHDRDSTOPTS 55
#define IPV6_RTHDR 57
#define IPV6_DSTOPTS 59
#define TCP_MD5SIG 14
#define TCP_REPAIR 19
#define TCP_MD5SIG_EXT 32
#define TCP_AO_ADD_KEY 38
#define TCP_AO_INFO 40

#define OPTION_MAX 4096 /* bytes of an option the kernel shows to BPF */

static __always_inline int steers(int level, int name)
{
	if (level == LEVEL_PACKET || level == LEVEL_XDP)
		return 1;
	if (level == LEVEL_IP)
		return name == IP_OPTIONS || name == IP_HDRINCL;
	if (level == LEVEL_IPV6)
		return name == IPV6_RTHDR || name == IPV6_RTHDRDSTOPTS || name == IPV6_HOPOPTS ||
		       name == IPV6_DSTOPTS || (name >= IPV6_2292HOPOPTS && name <= IPV6_2292PKTOPTIONS);
	return 0;
}

/* A SYN that is signed, or that is never sent, gets no answer from the proxy: its origin would stay
 * in handovers, which is everybody's, for as long as its socket does. */
static __always_inline int holds_up(int level, int name)
{
	if (level != LEVEL_TCP)
		return 0;
	return name == TCP_MD5SIG || name == TCP_MD5SIG_EXT || name == TCP_REPAIR ||
	       (name >= TCP_AO_ADD_KEY && name <= TCP_AO_INFO);
}

SEC("cgroup/setsockopt")
int set_option(struct bpf_sockopt *ctx)
{
	if (ctx->level == LEVEL_SOCKET && (ctx->optname == BINDTODEVICE || ctx->optname == BINDTOIFINDEX)) {
		/* Bound to a device, a socket does not reach the loopback. The
		 * program is told that it worked. */
		tally(enrollment, OPTION_SWALLOWED);
		ctx->optlen = -1;
		return ALLOW;
	}
	if (steers(ctx->level, ctx->optname) || holds_up(ctx->level, ctx->optname))
		return deny(enrollment, OPTION_DENIED);
	if (ctx->optlen > OPTION_MAX)
		ctx->optlen = 0; /* the kernel takes the original */
	return ALLOW;
}

static __always_inline int drop(void)
{
	return deny(enrollment, PACKET_DROPPED);
}

#define SYN_ACK 0x12 /* TCP flags */
#define FLAGS_AT 13  /* in a TCP header */

/* A server's answers stay on this host: from loopback to loopback, on a socket that was
 * accepted there. The SYN-ACK comes before there is such a socket; only listeners send one. */
static __always_inline int may_serve(struct __sk_buff *skb, __u32 off)
{
	struct bpf_sock *sk = skb->sk;
	__u8 flags;

	if (bpf_skb_load_bytes(skb, off + FLAGS_AT, &flags, sizeof(flags)))
		return 0;
	if ((flags & SYN_ACK) == SYN_ACK)
		return 1;
	if (!sk)
		return 0;
	sk = bpf_sk_fullsock(sk);
	return sk && bpf_sk_storage_get(&accepted, sk, 0, 0);
}

/* To the proxy on the loopback device, from a server to this host, or DNS. ports: source, destination. */
static __always_inline int may_leave(struct __sk_buff *skb, __u32 off, __u8 protocol, int from_here, int to_here)
{
	__u16 ports[2];

	if (bpf_skb_load_bytes(skb, off, ports, sizeof(ports)))
		return drop();
	if (protocol == IPPROTO_TCP && to_here && skb->ifindex == 1) {
		if (ports[1] == bpf_htons((__u16)proxy_port) || (from_here && may_serve(skb, off)))
			return ALLOW;
	}
	if (protocol == IPPROTO_UDP && ports[1] == bpf_htons(DNS_PORT))
		return ALLOW;
	return drop();
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	union address from, to;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return drop();
		if (ip.ihl != 5 || ip.frag_off & bpf_htons(0x1fff)) /* options; later fragments */
			return drop();
		from4(&from, ip.saddr);
		from4(&to, ip.daddr);
		return may_leave(skb, sizeof(ip), ip.protocol, is_loopback(&from), is_loopback(&to));
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
			return drop();
		__builtin_memcpy(from.bytes, &ip.saddr, sizeof(from.bytes));
		__builtin_memcpy(to.bytes, &ip.daddr, sizeof(to.bytes));
		return may_leave(skb, sizeof(ip), ip.nexthdr, is_loopback(&from), is_loopback(&to)); /* no extension header */
	}
	return drop();
}

#endif
