/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses are 16 bytes, IPv4 as v4-mapped; ports are in host order, turned once. */
#ifndef CHAPERONE_ADDRESS_H
#define CHAPERONE_ADDRESS_H

#include "words.h"

#define LOOPBACK4 bpf_htonl(0x7f000001)
#define MAPPED bpf_htonl(0xffff)

union address {
	__u8 bytes[16];
	__u32 words[4]; /* network order */
};

static __always_inline void from4(union address *a, __u32 ip)
{
	a->words[0] = 0;
	a->words[1] = 0;
	a->words[2] = MAPPED;
	a->words[3] = ip;
}

static __always_inline int is_mapped(const union address *a)
{
	return !a->words[0] && !a->words[1] && a->words[2] == MAPPED;
}

/* 0.0.0.0 and :: mean this host: connect() goes to loopback. */
static __always_inline void settle(union address *a)
{
	if (is_mapped(a) && !a->words[3])
		a->words[3] = LOOPBACK4;
	if (!a->words[0] && !a->words[1] && !a->words[2] && !a->words[3])
		a->words[3] = bpf_htonl(1);
}

static __always_inline int is_loopback(const union address *a)
{
	if (is_mapped(a))
		return (a->words[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !a->words[0] && !a->words[1] && !a->words[2] && a->words[3] == bpf_htonl(1);
}

#endif
