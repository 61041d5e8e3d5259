/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which IOThread iothread-vq-spread=numa chooses for each virtqueue.
 */

#include "qemu/osdep.h"
#include "hw/virtio/iothread-vq-spread.h"

#define MAX_NUMBERS 64

/* Numbers such as "0 0 1 ?", ? for unknown. */
static unsigned parse(const char *list, int *numbers)
{
    g_auto(GStrv) words = g_strsplit(list, " ", 0);
    unsigned i;

    for (i = 0; words[i]; i++) {
        g_assert_cmpuint(i, <, MAX_NUMBERS);
        numbers[i] = *words[i] == '?' ? HOST_NODE_UNKNOWN : atoi(words[i]);
    }
    return i;
}

/*
 * @vcpus: the guest node of each; @memory: the host node of each guest node;
 * @threads: the host node of each; @expected: the thread of each queue.
 */
static void check(const char *vcpus, const char *memory, const char *threads,
                  const char *expected)
{
    int vcpu_nodes[MAX_NUMBERS], host_nodes[MAX_NUMBERS], thread_nodes[MAX_NUMBERS], want[MAX_NUMBERS];
    unsigned got[MAX_NUMBERS];
    IOThreadVqLayout layout = {
        .vcpu_nodes = (unsigned *)vcpu_nodes,
        .num_vcpus = parse(vcpus, vcpu_nodes),
        .host_nodes = host_nodes,
        .num_nodes = parse(memory, host_nodes),
        .thread_nodes = thread_nodes,
        .num_threads = parse(threads, thread_nodes),
    };
    unsigned num_queues = parse(expected, want);
    g_autoptr(GString) said = g_string_new(NULL);
    unsigned i;

    iothread_vq_choose(&layout, got, num_queues);
    for (i = 0; i < num_queues; i++) {
        g_string_append_printf(said, "%s%u", i ? " " : "", got[i]);
    }
    g_assert_cmpstr(said->str, ==, expected);
}

static void nothing_known_is_round_robin(void)
{
    check("0 0 0 0", "?", "? ? ?", "0 1 2 0");
    check("0 0 1 1", "? ?", "0 1", "0 1 0 1");
    check("0 0 1 1", "0 1", "? ?", "0 1 0 1");
    check("", "?", "0 1", "0 1 0");
    check("", "0", "0 1", "0 1 0");
    check("0", "?", "?", "0 0 0");
}

static void one_node_is_round_robin(void)
{
    check("0 0 0 0", "0", "0 0", "0 1 0 1");
    check("0 0", "0", "0 0 0", "0 1 2 0 1");
}

/*
 * With a thread for each node, the nodes of the queues: in each, what Linux 6.1
 * shows in /sys/block/vda/mq/N/cpu_list of a guest with these virtual CPUs.
 */
static void queues_are_where_linux_has_them(void)
{
    check("0 0 1 1", "0 1", "0 1", "0 1");
    check("0 0 1 1", "0 1", "0 1", "1 1 0 0");
    check("0 1 0 1", "0 1", "0 1", "0 1");
    check("0 1 0 1", "0 1", "0 1", "1 1 0 0");
    check("0 1 1 1", "0 1", "0 1", "0 1");
    check("0 1 1 1", "0 1", "0 1", "0 1 1");
    check("0 0 0 1", "0 1", "0 1", "1 0 0 0");
    check("0 0 1 1", "0 1", "0 1", "1 0 0");
    check("0 0 0 0", "0", "0", "0 0 0");
    check("0 0 1 1 2 2 3 3", "0 1 2 3", "0 1 2 3", "0 1 2 3");
    check("0 0 1 1 2 2 3 3", "0 1 2 3", "0 1 2 3", "1 2 3 3 0 0");
}

static void memory_decides_not_the_number_of_the_node(void)
{
    check("0 0 1 1", "1 0", "0 1", "0 0 1 1");
    check("0 0 1 1", "5 7", "7 5", "0 0 1 1");
    check("0 0 1 1", "3 3", "2 3", "1 1 1 1");
}

static void threads_of_a_node_take_turns(void)
{
    /* one IOThread of node 0, three of node 1 */
    check("0 0 0 0 1 1 1 1", "0 1", "0 1 1 1", "1 2 3 1 0 0 0 0");
    check("0 1 0 1 0 1 0 1", "0 1", "1 0 1 0", "0 2 0 2 1 3 1 3");
}

static void node_without_thread_takes_the_least_used(void)
{
    check("0 0 1 1", "0 1", "0 0", "0 1 0 1");
    /* the queues of nodes 1 and 2 come first; 2 has no thread */
    check("0 0 1 1 2 2", "0 1 2", "0 1 ?", "1 1 2 2 0 0");
}

static void unknown_threads_serve_only_who_has_no_other(void)
{
    check("0 0 0 0", "0", "? 0", "1 1 1 1");
    check("0 0 1 1", "0 ?", "? 0", "0 0 1 1");
}

static void fewer_queues_than_nodes_follow_the_first(void)
{
    check("0 0 1 1 2 2 3 3", "0 1 2 3", "0 1 2 3", "0 1 2");
    check("0 0 1 1", "0 1", "1 0", "1");
}

static void nodes_without_vcpus_have_no_queues(void)
{
    check("0 0 2 2", "0 1 2", "0 1 2", "0 2");
    check("0 0 2 2", "0 1 2", "0 1 2", "2 2 0 0");
}

static void queues_that_no_vcpu_uses_go_where_there_are_fewest(void)
{
    check("0 1", "0 1", "0 1", "0 1 0 1 0");
    check("0 0 1", "0 1", "0 1 1", "1 0 0 2 1 2");
}

static void eight_nodes_with_uneven_threads(void)
{
    /* two threads are of node 0, one of none; node 7 has none */
    check("0 0 1 1 2 2 3 3 4 4 5 5 6 6 7 7", "0 1 2 3 4 5 6 7",
          "0 0 1 ? 2 3 4 5 6",
          "2 2 4 4 5 5 6 6 7 7 8 8 3 0 0 1");
    /* a queue a node */
    check("0 0 1 1 2 2 3 3 4 4 5 5 6 6 7 7", "0 1 2 3 4 5 6 7",
          "7 6 5 4 3 2 1 0", "7 6 5 4 3 2 1 0");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/iothread-vq-choose/" #name, name)
    TEST(nothing_known_is_round_robin);
    TEST(one_node_is_round_robin);
    TEST(queues_are_where_linux_has_them);
    TEST(memory_decides_not_the_number_of_the_node);
    TEST(threads_of_a_node_take_turns);
    TEST(node_without_thread_takes_the_least_used);
    TEST(unknown_threads_serve_only_who_has_no_other);
    TEST(fewer_queues_than_nodes_follow_the_first);
    TEST(nodes_without_vcpus_have_no_queues);
    TEST(queues_that_no_vcpu_uses_go_where_there_are_fewest);
    TEST(eight_nodes_with_uneven_threads);
    return g_test_run();
}
