/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line.
 */
#include "options.h"
#include "help.h"
#include "transport.h"
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_VHOST_USER = 256, OPT_QTEST, OPT_MEM, OPT_SELF, OPT_SELF_CPUS,
    OPT_SELF_SIZE, OPT_CORRUPT_EVERY, OPT_QUEUES, OPT_CPUS, OPT_DEPTH,
    OPT_BLOCK_SIZE, OPT_SIZE, OPT_RW, OPT_READ_PERCENT, OPT_FLUSH_EVERY,
    OPT_RUNTIME, OPT_WARMUP, OPT_REQUESTS, OPT_SEED, OPT_VERIFY, OPT_PREFILL,
    OPT_NO_READ_BACK, OPT_THINK_TIME, OPT_COMPLETION, OPT_KICK, OPT_RING_SIZE, OPT_INDIRECT,
    OPT_NO_INDIRECT, OPT_NO_EVENT_IDX, OPT_TIMEOUT, OPT_JSON, OPT_HELP,
};

static const struct option long_options[] = {
    { "vhost-user", required_argument, NULL, OPT_VHOST_USER },
    { "qtest", required_argument, NULL, OPT_QTEST },
    { "mem", required_argument, NULL, OPT_MEM },
    { "self", optional_argument, NULL, OPT_SELF },
    { "self-cpus", required_argument, NULL, OPT_SELF_CPUS },
    { "self-size", required_argument, NULL, OPT_SELF_SIZE },
    { "corrupt-every", required_argument, NULL, OPT_CORRUPT_EVERY },
    { "queues", required_argument, NULL, OPT_QUEUES },
    { "cpus", required_argument, NULL, OPT_CPUS },
    { "depth", required_argument, NULL, OPT_DEPTH },
    { "block-size", required_argument, NULL, OPT_BLOCK_SIZE },
    { "size", required_argument, NULL, OPT_SIZE },
    { "rw", required_argument, NULL, OPT_RW },
    { "read-percent", required_argument, NULL, OPT_READ_PERCENT },
    { "flush-every", required_argument, NULL, OPT_FLUSH_EVERY },
    { "runtime", required_argument, NULL, OPT_RUNTIME },
    { "warmup", required_argument, NULL, OPT_WARMUP },
    { "requests", required_argument, NULL, OPT_REQUESTS },
    { "seed", required_argument, NULL, OPT_SEED },
    { "think-time", required_argument, NULL, OPT_THINK_TIME },
    { "verify", no_argument, NULL, OPT_VERIFY },
    { "prefill", no_argument, NULL, OPT_PREFILL },
    { "no-read-back", no_argument, NULL, OPT_NO_READ_BACK },
    { "completion", required_argument, NULL, OPT_COMPLETION },
    { "kick", required_argument, NULL, OPT_KICK },
    { "ring-size", required_argument, NULL, OPT_RING_SIZE },
    { "indirect", no_argument, NULL, OPT_INDIRECT },
    { "no-indirect", no_argument, NULL, OPT_NO_INDIRECT },
    { "no-event-idx", no_argument, NULL, OPT_NO_EVENT_IDX },
    { "timeout", required_argument, NULL, OPT_TIMEOUT },
    { "json", required_argument, NULL, OPT_JSON },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 }
};

static uint64_t parse_number(const char *name, const char *text, bool suffix,
                             uint64_t min, uint64_t max)
{
    char *end;
    unsigned long long n;
    unsigned shift = 0;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (suffix && end != text && *end) {
        const char *found = strchr("KMGT", *end & ~0x20);

        if (found && *found) {
            shift = 10 * (unsigned)(found - "KMGT" + 1);
            end++;
        }
    }
    if (errno || end == text || *end || *text == '-' ||
        n > UINT64_MAX >> shift || n << shift < min || n << shift > max) {
        die("--%s: '%s' is not a number from %llu to %llu", name, text,
            (unsigned long long)min, (unsigned long long)max);
    }
    return n << shift;
}

static double parse_seconds(const char *name, const char *text)
{
    char *end;
    double s = strtod(text, &end);

    if (end == text || *end || !isfinite(s) || s < 0 || s > 1e6) {
        die("--%s: '%s' is not a number of seconds", name, text);
    }
    return s;
}

/* The place of @text in @words, which ends with NULL. */
static unsigned parse_word(const char *name, const char *text,
                           const char *const *words)
{
    unsigned i;

    for (i = 0; words[i]; i++) {
        if (!strcmp(text, words[i])) {
            return i;
        }
    }
    die("--%s: '%s' is not known; see --help", name, text);
}

static void parse_self(struct options *o, const char *mode)
{
    static const char *const words[] = {
        [SELF_NULL] = "null",
        [SELF_MEMORY] = "memory",
        [SELF_CORRUPT_DATA] = "corrupt:data",
        [SELF_CORRUPT_LOST] = "corrupt:lost",
        [SELF_CORRUPT_STALE] = "corrupt:stale",
        [SELF_CORRUPT_PLACE] = "corrupt:place",
        [SELF_CORRUPT_STATUS] = "corrupt:status",
        [SELF_CORRUPT_LENGTH] = "corrupt:length",
        [SELF_CORRUPT_ID] = "corrupt:id",
        [SELF_CORRUPT_TWICE] = "corrupt:twice",
        [SELF_CORRUPT_SILENT] = "corrupt:silent",
        [SELF_CORRUPT_MUTE] = "corrupt:mute",
        [SELF_CORRUPT_DEATH] = "corrupt:death",
        NULL
    };

    if (!mode) {
        mode = "null";
    } else if (!strcmp(mode, "corrupt")) {
        mode = "corrupt:data";
    }
    o->self_mode = parse_word("self", mode, words);
}

static void parse_rw(struct options *o, const char *how)
{
    static const char *const words[] = {
        "read", "write", "randread", "randwrite", "mix", NULL
    };
    unsigned i = parse_word("rw", how, words);

    o->random = i >= 2;
    o->reads = i == 0 || i == 2 || i == 4;
    o->writes = i == 1 || i >= 3;
}

static void set_transport(struct options *o, const struct transport *t,
                          const char *socket)
{
    if (o->transport) {
        die("more than one of --vhost-user, --qtest and --self");
    }
    o->transport = t;
    o->socket = socket;
}

static void set_cpus(struct cpu_list *list, const char *name, const char *text)
{
    if (!cpu_list_parse(list, text)) {
        die("--%s: '%s' is not a list of CPUs", name, text);
    }
}

static void parse_one(struct options *o, int opt, const char *name,
                      const char *arg)
{
    static const char *const completions[] = { "poll", "eventfd", NULL };
    static const char *const kicks[] = { "auto", "always", "ioeventfd", NULL };
    unsigned kick;

    switch (opt) {
    case OPT_VHOST_USER:
        set_transport(o, &vhost_user_transport, arg);
        break;
    case OPT_QTEST:
        set_transport(o, &qtest_pci_transport, arg);
        break;
    case OPT_SELF:
        set_transport(o, &self_transport, NULL);
        parse_self(o, arg);
        break;
    case OPT_MEM:
        o->mem_path = arg;
        break;
    case OPT_SELF_CPUS:
        set_cpus(&o->self_cpus, name, arg);
        break;
    case OPT_SELF_SIZE:
        o->self_size = parse_number(name, arg, true, 512, 1ull << 40);
        break;
    case OPT_CORRUPT_EVERY:
        o->corrupt_every = parse_number(name, arg, false, 1, UINT32_MAX);
        break;
    case OPT_QUEUES:
        o->queues = parse_number(name, arg, false, 1, 1024);
        break;
    case OPT_CPUS:
        set_cpus(&o->cpus, name, arg);
        break;
    case OPT_DEPTH:
        o->depth = parse_number(name, arg, false, 1, 32768);
        break;
    case OPT_BLOCK_SIZE:
        o->block_size = parse_number(name, arg, true, 512, 64 << 20);
        break;
    case OPT_SIZE:
        o->size = parse_number(name, arg, true, 512, UINT64_MAX);
        break;
    case OPT_RW:
        parse_rw(o, arg);
        break;
    case OPT_READ_PERCENT:
        o->read_percent = parse_number(name, arg, false, 0, 100);
        break;
    case OPT_FLUSH_EVERY:
        o->flush_every = parse_number(name, arg, false, 1, UINT32_MAX);
        break;
    case OPT_RUNTIME:
        o->runtime = parse_seconds(name, arg);
        break;
    case OPT_WARMUP:
        o->warmup = parse_seconds(name, arg);
        break;
    case OPT_REQUESTS:
        o->requests = parse_number(name, arg, false, 1, UINT64_MAX);
        break;
    case OPT_SEED:
        o->seed = parse_number(name, arg, false, 0, UINT64_MAX);
        break;
    case OPT_THINK_TIME:
        o->think_us = parse_number(name, arg, false, 0, 1000000);
        break;
    case OPT_VERIFY:
        o->verify = true;
        break;
    case OPT_PREFILL:
        o->prefill = true;
        break;
    case OPT_NO_READ_BACK:
        o->read_back = false;
        break;
    case OPT_COMPLETION:
        o->sleep = parse_word(name, arg, completions);
        break;
    case OPT_KICK:
        kick = parse_word(name, arg, kicks);
        o->kick_always = kick == 1;
        o->kick_ioeventfd = kick == 2;
        break;
    case OPT_RING_SIZE:
        o->ring_size = parse_number(name, arg, false, 2, 32768);
        break;
    case OPT_INDIRECT:
        o->indirect = INDIRECT_ON;
        break;
    case OPT_NO_INDIRECT:
        o->indirect = INDIRECT_OFF;
        break;
    case OPT_NO_EVENT_IDX:
        o->event_idx = false;
        break;
    case OPT_TIMEOUT:
        o->timeout = parse_seconds(name, arg);
        break;
    case OPT_JSON:
        o->json = arg;
        break;
    case OPT_HELP:
        help_print();
        exit(EXIT_OK);
    default:
        /* getopt has said what is wrong */
        exit(EXIT_ENVIRONMENT);
    }
}

static void check(struct options *o)
{
    if (!o->transport) {
        die("one of --vhost-user, --qtest and --self is needed; see --help");
    }
    if (o->transport == &qtest_pci_transport && !o->mem_path) {
        die("--qtest needs --mem, the file that is the guest's memory");
    }
    if (o->sleep && !o->transport->has_interrupts) {
        die("--completion eventfd is not possible with --%s",
            o->transport->name);
    }
    if (o->kick_ioeventfd && o->transport != &qtest_pci_transport) {
        die("--kick ioeventfd is for --qtest");
    }
    if (o->block_size % 512) {
        die("--block-size must be a multiple of 512");
    }
    if (o->ring_size & (o->ring_size - 1)) {
        die("--ring-size must be a power of two");
    }
    if (o->prefill && !o->verify) {
        die("--prefill needs --verify");
    }
    if (!o->requests && o->runtime <= 0) {
        die("--runtime must be more than 0");
    }
    if (o->timeout <= 0) {
        die("--timeout must be more than 0");
    }
    if (o->prefill) {
        o->writes = true;
    }
    if (o->requests) {
        o->warmup = 0;
    }
}

void options_parse(struct options *o, int argc, char **argv)
{
    int opt, index = 0;
    bool mix;

    *o = (struct options) {
        .corrupt_every = 100,
        .self_size = 1ull << 30,
        .queues = 1,
        .depth = 1,
        .block_size = 4096,
        .random = true,
        .reads = true,
        .read_percent = 50,
        .runtime = 5,
        .warmup = 1,
        .read_back = true,
        .seed = 1,
        .event_idx = true,
        .timeout = 30,
    };
    while ((opt = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        parse_one(o, opt, long_options[index].name, optarg);
    }
    if (optind < argc) {
        die("'%s' is not an option; see --help", argv[optind]);
    }
    mix = o->reads && o->writes;
    if (!mix) {
        o->read_percent = o->reads ? 100 : 0;
    }
    check(o);
}
