/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is deferred to the end of a section is called once, also when one of these
 * has a section of its own, as the rings' publishing relies on.
 */

#include "qemu/osdep.h"
#include "qemu/defer-call.h"

#define INNER 64                /* the array of them moves */

static unsigned before, after, inner[INNER];

static void count(void *opaque)
{
    unsigned *n = opaque;

    (*n)++;
}

static void section(void *opaque)
{
    defer_call_begin();
    for (unsigned i = 0; i < INNER; i++) {
        defer_call(count, &inner[i]);
    }
    defer_call_end();
    g_assert_cmpuint(inner[INNER - 1], ==, 1);
}

static void test_section_within(void)
{
    defer_call_begin();
    defer_call(count, &before);
    defer_call(section, NULL);
    defer_call(count, &after);
    defer_call(count, &before);
    g_assert_cmpuint(before, ==, 0);
    defer_call_end();
    g_assert_cmpuint(before, ==, 1);
    g_assert_cmpuint(after, ==, 1);
    for (unsigned i = 0; i < INNER; i++) {
        g_assert_cmpuint(inner[i], ==, 1);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/deferred-once/section-within", test_section_within);
    return g_test_run();
}
