/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Settings are constants of a load, frozen: no map that a root process could zero. */
#ifndef CHAPERONE_SETTINGS_H
#define CHAPERONE_SETTINGS_H

#include "maps.h"

volatile const __u32 enrollment; /* of the cgroup this load is attached to; 0: the root's */
volatile const __u32 proxy_port; /* host order */
volatile const __u64 proxy_netns; /* cookie of the network namespace the proxy listens in */

#define MAX_DEPTH 16 /* of an enrolled cgroup below the root */

static __always_inline void bump(__u32 who, __u32 what)
{
	struct count_key key = {.enrollment = who, .tally = what};
	__u64 *n = bpf_map_lookup_elem(&counts, &key);

	if (n)
		*n += 1; /* per CPU */
}

/* Counts for the enrollment, and under 0 for all there ever were: an
 * enrollment's own counters go with it. */
static __always_inline void tally(__u32 who, __u32 what)
{
	bump(who, what);
	if (who)
		bump(0, what);
}

static __always_inline int deny(__u32 who, __u32 why)
{
	tally(who, why);
	return DENY;
}

/* Whether a cgroup may be enrolled. Not knowing is a yes: it will be looked up. */
static __always_inline int marked(__u64 cgroup)
{
	__u32 word = cgroup % MARKS / 64;
	__u64 *bits = bpf_map_lookup_elem(&marks, &word);

	return !bits || *bits >> cgroup % 64 & 1;
}

/* The enrollment that decides: this load's; at the root the innermost
 * enrolled cgroup of the current task, 0 for none. */
static __always_inline __u32 deciding(void)
{
	__u32 found = 0, zero = 0, below, *used;

	if (enrollment)
		return enrollment;
	used = bpf_map_lookup_elem(&levels, &zero);
	if (!used)
		return 0;
	below = *used >> 1;
	for (int level = 1; level <= MAX_DEPTH && below; level++, below >>= 1) {
		__u64 id;
		__u32 *who;

		if (!(below & 1))
			continue;
		id = bpf_get_current_ancestor_cgroup_id(level);
		if (!id)
			break;
		if (!marked(id))
			continue;
		who = bpf_map_lookup_elem(&enrolled, &id);
		if (who)
			found = *who;
	}
	return found;
}

#endif
