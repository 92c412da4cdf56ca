/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef CHAPERONE_MAPS_H
#define CHAPERONE_MAPS_H

#include "words.h"

#define MARKS 65536 /* bits: four for each cgroup that can be enrolled */

/* Written by connect on the client's socket, read by getpeername and the
 * handover. An entry dies with its socket; nothing evicts it. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct origin);
} origins SEC(".maps");

/* Written by the handover on the socket the proxy accepts, read by the proxy
 * with the accepted descriptor. An entry dies with its socket. Apart from origins, so that
 * getpeername does not lie to the proxy. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct origin);
} arrivals SEC(".maps");

/* Marks sockets that an enrolled process accepted over loopback. Written when the handshake
 * is complete, read for each packet. An entry dies with its socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} accepted SEC(".maps");

/* From the client's SYN to the proxy's end of the handshake. Written and deleted by the
 * handover: on arrival, or when the client's socket closes before. Full: no origin, reset. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct caller);
	__type(value, struct origin);
} handovers SEC(".maps");

/* Enrolled cgroups by id. Written by the daemon at enrollment, read by the programs at the
 * root, which see sockets that were made outside of their process's cgroup. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} enrolled SEC(".maps");

/* How far below the root enrolled cgroups are: bit n for level n. Written by the daemon
 * before it enrolls, read by the programs at the root, so that a process that is not
 * enrolled pays for the levels in use only. Bits are never taken back. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} levels SEC(".maps");

/* Which ids may be in enrolled: bit id % MARKS, so that a process that is not enrolled pays for no
 * lookup there. Written by the daemon before it enrolls, read by the programs at the root. A bit
 * that stands for nothing any more costs a lookup; they are taken back when a daemon opens the maps. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MARKS / 64);
	__type(key, __u32);
	__type(value, __u64);
} marks SEC(".maps");

/* Written here, read by the daemon, which makes the entries at enrollment. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384 * TALLIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct count_key);
	__type(value, __u64);
} counts SEC(".maps");

#endif
