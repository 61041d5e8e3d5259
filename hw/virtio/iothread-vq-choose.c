/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chooses IOThreads for virtqueues, from tables alone.
 *
 * Which virtual CPUs use a virtqueue is the guest's business; Linux shares them
 * out so, as tests/guest/test-virtqueue-nodes sees it do:
 * - no more queues than nodes: the nodes in their order, by turns;
 * - else each node has queues in a row, in proportion to its virtual CPUs: small
 *   nodes first, those of a size in their order, but that node 0 is the last of
 *   them (it sorts them by a heap).  Nodes of several sizes, some of them the same,
 *   may come in another order there.
 */

#include "qemu/osdep.h"
#include "hw/virtio/iothread-vq-spread.h"

/* The guest's nodes that have virtual CPUs. */
typedef struct Nodes {
    unsigned *ids;
    unsigned *vcpus;        /* how many, by ID */
    unsigned num;
} Nodes;

static void count_nodes(Nodes *nodes, const IOThreadVqLayout *l)
{
    unsigned i;

    nodes->ids = g_new0(unsigned, l->num_nodes);
    nodes->vcpus = g_new0(unsigned, l->num_nodes);
    nodes->num = 0;
    for (i = 0; i < l->num_vcpus; i++) {
        nodes->vcpus[l->vcpu_nodes[i]]++;
    }
    for (i = 0; i < l->num_nodes; i++) {
        if (nodes->vcpus[i]) {
            nodes->ids[nodes->num++] = i;
        }
    }
}

static void order_by_size(Nodes *nodes)
{
    g_autofree unsigned *before = g_memdup2(nodes->ids,
                                            nodes->num * sizeof(*nodes->ids));
    unsigned i, place;

    /* by insertion; the first node last, so that it stays behind its equals */
    for (i = 0; i < nodes->num; i++) {
        unsigned id = before[(i + 1) % nodes->num];

        for (place = i; place > 0; place--) {
            if (nodes->vcpus[nodes->ids[place - 1]] <= nodes->vcpus[id]) {
                break;
            }
            nodes->ids[place] = nodes->ids[place - 1];
        }
        nodes->ids[place] = id;
    }
}

/* The guest's node that each of the first @num queues is for. */
static void share_out(unsigned *node_of_queue, unsigned num, Nodes *nodes,
                      unsigned num_vcpus)
{
    unsigned i, queue = 0;

    if (num <= nodes->num) {
        memcpy(node_of_queue, nodes->ids, num * sizeof(*node_of_queue));
        return;
    }
    order_by_size(nodes);
    for (i = 0; i < nodes->num; i++) {
        unsigned vcpus = nodes->vcpus[nodes->ids[i]];
        unsigned end = queue + MAX(1, (num - queue) * vcpus / num_vcpus);

        num_vcpus -= vcpus;
        while (queue < end) {
            node_of_queue[queue++] = nodes->ids[i];
        }
    }
}

/* Of the threads of @node, or of all if @node is unknown, the one with the fewest. */
static int least_used(int node, const IOThreadVqLayout *l, const unsigned *used)
{
    int least = -1;
    unsigned i;

    for (i = 0; i < l->num_threads; i++) {
        if (node != HOST_NODE_UNKNOWN && l->thread_nodes[i] != node) {
            continue;
        }
        if (least < 0 || used[i] < used[least]) {
            least = i;
        }
    }
    return least;
}

/* The queues that have threads of their node (@matching), or those that have not. */
static void choose(const IOThreadVqLayout *l, const unsigned *node_of_queue,
                   unsigned in_use, unsigned *used, unsigned *thread_of_queue,
                   unsigned num_queues, bool matching)
{
    unsigned queue;

    for (queue = 0; queue < num_queues; queue++) {
        int node = queue < in_use ? l->host_nodes[node_of_queue[queue]]
                                  : HOST_NODE_UNKNOWN;
        int thread = least_used(node, l, used);

        if ((node != HOST_NODE_UNKNOWN && thread >= 0) != matching) {
            continue;
        }
        if (!matching) {
            thread = least_used(HOST_NODE_UNKNOWN, l, used);
        }
        thread_of_queue[queue] = thread;
        used[thread]++;
    }
}

void iothread_vq_choose(const IOThreadVqLayout *l, unsigned *thread_of_queue,
                        unsigned num_queues)
{
    g_autofree unsigned *node_of_queue = g_new0(unsigned, num_queues);
    g_autofree unsigned *used = g_new0(unsigned, l->num_threads);
    unsigned in_use = MIN(num_queues, l->num_vcpus);
    Nodes nodes;

    count_nodes(&nodes, l);
    share_out(node_of_queue, in_use, &nodes, l->num_vcpus);
    g_free(nodes.ids);
    g_free(nodes.vcpus);

    /* first the queues that have threads of their node, then the rest */
    choose(l, node_of_queue, in_use, used, thread_of_queue, num_queues, true);
    choose(l, node_of_queue, in_use, used, thread_of_queue, num_queues, false);
}
