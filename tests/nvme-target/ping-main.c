/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nvmeping: options.
 */
#include "ping.h"
#include <getopt.h>
#include <sched.h>
#include "qemu/cutils.h"

#define MOST_BYTES (2u << 20)           /* of a transfer */

static uint64_t random_state = 1;

void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "nvmeping: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* Marsaglia's xorshift64* */
uint64_t random_next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545f4914f6cdd1dull) >> 16;
}

void random_seed(uint64_t seed)
{
    random_state = seed * 2 + 1;
}

static unsigned number(const char *option, const char *text, unsigned least,
                       unsigned most)
{
    unsigned value;

    if (qemu_strtoui(text, NULL, 0, &value) < 0 || value < least || value > most) {
        die("--%s takes a number from %u to %u, not '%s'", option, least, most, text);
    }
    return value;
}

static void pin(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0) {
        die("--cpu: cannot run on CPU %u: %s", cpu, strerror(errno));
    }
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        { "socket", required_argument, NULL, 's' },
        { "depth", required_argument, NULL, 'd' },
        { "seconds", required_argument, NULL, 't' },
        { "op", required_argument, NULL, 'o' },
        { "cpu", required_argument, NULL, 'c' },
        { "verify", required_argument, NULL, 'v' },
        { "sgl", no_argument, NULL, 'g' },
        { "seed", required_argument, NULL, 'S' },
        { }
    };
    const char *path = NULL;
    unsigned depth = 32, rounds = 0;
    double seconds = 1;
    bool write = false, sgl = false;
    Ping p = { };
    int c, i = 0;

    while ((c = getopt_long(argc, argv, "", known, &i)) != -1) {
        switch (c) {
        case 's':
            path = optarg;
            break;
        case 'd':
            depth = number("depth", optarg, 1, MAX_DEPTH);
            break;
        case 't':
            if (qemu_strtod_finite(optarg, NULL, &seconds) < 0 || seconds <= 0) {
                die("--seconds takes a number, not '%s'", optarg);
            }
            break;
        case 'o':
            if (strcmp(optarg, "read") && strcmp(optarg, "write")) {
                die("--op takes read or write, not '%s'", optarg);
            }
            write = !strcmp(optarg, "write");
            break;
        case 'c':
            pin(number("cpu", optarg, 0, CPU_SETSIZE - 1));
            break;
        case 'v':
            rounds = number("verify", optarg, 1, 1000000);
            break;
        case 'g':
            sgl = true;
            break;
        case 'S':
            random_seed(number("seed", optarg, 1, UINT_MAX));
            break;
        default:
            die("the options are in tests/nvme-target/README.md");
        }
    }
    if (!path || optind < argc) {
        die("needs --socket PATH, and takes options only");
    }
    ping_open(&p, path, depth,
              (size_t)depth * (rounds ? MOST_BYTES + 9 * PAGE : PAGE));
    if (rounds) {
        verify_run(&p, rounds, sgl);
    } else {
        load_run(&p, write, seconds);
    }
    ping_close(&p);
    return 0;
}
