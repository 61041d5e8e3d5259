/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nvmeping: options.
 */
#include "ping.h"
#include <getopt.h>
#include "qemu/cutils.h"

#define MOST_BYTES (2u << 20)           /* of a transfer */

static uint64_t random_state = 1;

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
            depth = option_number("depth", optarg, 1, MAX_DEPTH);
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
            option_cpu(optarg);
            break;
        case 'v':
            rounds = option_number("verify", optarg, 1, 1000000);
            break;
        case 'g':
            sgl = true;
            break;
        case 'S':
            random_seed(option_number("seed", optarg, 1, UINT_MAX));
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
