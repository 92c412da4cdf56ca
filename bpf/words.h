/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The words that kernel and Go share. Go never repeats them: bpf2go reads them. */
#ifndef CHAPERONE_WORDS_H
#define CHAPERONE_WORDS_H

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Where a socket wanted to go, and who asked.
 *
 *   0        16     20           24       32       40      48     56     60    64        68      72    76    80
 *   | addr   | port | enrollment | cookie | cgroup | netns | time | tgid | uid | decided | armed | tid | pad |
 *
 * Its size is its version: maps that an earlier daemon pinned with another one are made anew (bpf.go).
 */
struct origin {
	__u8 addr[16];    /* IPv4 as ::ffff:a.b.c.d */
	__u32 port;       /* host order */
	__u32 enrollment; /* of the attach point */
	__u64 cookie;     /* of the client's socket */
	__u64 cgroup;     /* of the task that called connect */
	__u64 netns;      /* cookie */
	__u64 time;       /* ns, CLOCK_MONOTONIC */
	__u32 tgid;
	__u32 uid;
	__u32 decided; /* the enrollment whose own program has just decided; the root takes it off */
	__u32 armed;   /* good for one SYN: a later dial on the same socket finds no origin */
	__u32 tid;     /* the thread that called connect: its process may have lost its first one */
	__u32 pad;
};

/* The client's end of a connection that is on its way to the proxy. */
struct caller {
	__u64 netns;   /* cookie */
	__u8 addr[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u32 port;    /* host order */
	__u32 pad;
};

/* What is counted, per enrollment. Names are in door.go, by number. */
enum tally {
	CONNECT_REDIRECTED,
	CONNECT_TO_PROXY,     /* dialled the proxy itself: denied */
	CONNECT_NETNS,        /* from a network namespace that is not served: denied */
	CONNECT_PROTOCOL,     /* neither TCP nor DNS: denied */
	CONNECT_UNREMEMBERED, /* no memory for its origin: denied */
	CONNECT_FOREIGN,      /* on a socket of another enrollment: denied */
	HANDOVER_FULL,        /* its origin could not be handed over: the proxy resets it */
	HANDED_OVER,
	DATAGRAM_DNS,
	DATAGRAM_DENIED,
	SOCKET_RAW,
	SOCKET_PING,
	SOCKET_MPTCP,
	SOCKET_UDPLITE,
	SOCKET_SCTP,
	SOCKET_OTHER,
	OPTION_DENIED,
	OPTION_SWALLOWED,
	BIND_DENIED,
	PACKET_DROPPED,
	TALLIES,
};

struct count_key {
	__u32 enrollment;
	enum tally tally;
};

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262
#define DNS_PORT 53

/* What a cgroup program returns; TURNED and UNDECIDED are between ourselves. */
#define DENY 0
#define ALLOW 1
#define TURNED 2
#define UNDECIDED 3

#endif
