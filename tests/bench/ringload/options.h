/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the command line asks for; written by options_parse(), then only read.
 */
#ifndef RINGLOAD_OPTIONS_H
#define RINGLOAD_OPTIONS_H

#include "util.h"

struct transport;

enum indirect_use {
    INDIRECT_AUTO,      /* where the ring is too small for plain chains */
    INDIRECT_ON,
    INDIRECT_OFF,
};

/* What the built-in server (self.c) does with a request. */
enum self_mode {
    SELF_NULL,              /* completes it at once */
    SELF_MEMORY,            /* stores and reads data */
    SELF_CORRUPT_DATA,      /* memory, but one in N reads has a bit flipped */
    SELF_CORRUPT_LOST,      /* one in N writes is not done */
    SELF_CORRUPT_STALE,     /* one in N reads gets the write before the last */
    SELF_CORRUPT_PLACE,     /* one in N reads gets its neighbour's data */
    SELF_CORRUPT_STATUS,    /* one in N requests has an error status */
    SELF_CORRUPT_LENGTH,    /* one in N used elements has a wrong length */
    SELF_CORRUPT_ID,        /* one in N used elements has a wrong id */
    SELF_CORRUPT_TWICE,     /* one in N requests is completed twice */
    SELF_CORRUPT_SILENT,    /* one in N requests is never completed */
    SELF_CORRUPT_MUTE,      /* one in N interrupts is not sent */
    SELF_CORRUPT_DEATH,     /* the server dies after N requests */
};

struct options {
    const struct transport *transport;
    const char *socket;         /* --vhost-user, --qtest */
    const char *mem_path;       /* --mem */
    enum self_mode self_mode;
    struct cpu_list self_cpus;
    unsigned corrupt_every;
    uint64_t self_size;

    unsigned queues;
    struct cpu_list cpus;
    unsigned depth;
    unsigned ring_size;         /* 0: chosen by depth */
    uint32_t block_size;
    uint64_t size;              /* part of the disk to use; 0: all */
    bool random;
    bool reads;
    bool writes;
    unsigned read_percent;
    double runtime;
    double warmup;
    uint64_t requests;          /* a queue; 0: run by time */
    bool verify;
    bool prefill;
    bool read_back;
    bool sleep;                 /* --completion eventfd */
    unsigned flush_every;
    uint64_t seed;
    const char *json;
    bool kick_always;
    bool kick_ioeventfd;        /* not through the qtest socket */
    bool event_idx;
    enum indirect_use indirect;
    double timeout;
    double think_us;
};

/* Fills in @o; prints and exits on --help and where there is an error. */
void options_parse(struct options *o, int argc, char **argv);

#endif
