/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's NUMA nodes, and whose memory an IOThread prefers.
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qapi/error.h"
#include "block/aio-wait.h"
#include "iothread-affinity.h"

#ifdef CONFIG_NUMA
#include <numa.h>
#include <numaif.h>

/*
 * linux/mempolicy.h: the numbers given are those of the host, whatever a cpuset
 * does meanwhile.  Otherwise the kernel renumbers them with the cpuset's nodes,
 * and what query-iothreads shows is wrong.
 */
#ifndef MPOL_F_STATIC_NODES
#define MPOL_F_STATIC_NODES (1 << 15)
#endif

/* The nodes with memory that the process may use; 0 or an errno. */
static int get_usable(IOThreadSet *nodes)
{
    const unsigned long nbits = numa_num_possible_nodes();

    *nodes = (IOThreadSet) { bitmap_new(nbits), nbits };
    return get_mempolicy(NULL, nodes->bits, nbits, NULL, MPOL_F_MEMS_ALLOWED)
           ? errno : 0;
}

static void append_usable(Error **errp, const IOThreadSet *usable)
{
    g_autoptr(GString) text = g_string_new(NULL);
    unsigned long node;

    for (node = find_first_bit(usable->bits, usable->nbits);
         node < usable->nbits;
         node = find_next_bit(usable->bits, usable->nbits, node + 1)) {
        g_string_append_printf(text, "%s%lu", text->len ? ", " : "", node);
    }
    error_append_hint(errp, "Nodes with memory for this process: %s\n",
                      text->str);
}

static void append_filter_hint(Error **errp, int err)
{
    if (err == EPERM) {
        error_append_hint(errp, "A filter of system calls forbids it: allow "
                          "get_mempolicy and set_mempolicy (docker --cap-add "
                          "SYS_NICE), or leave the option out.\n");
    }
}

static bool check_node(const char *id, unsigned long node,
                       const IOThreadSet *usable, Error **errp)
{
    ERRP_GUARD();

    if (!numa_bitmask_isbitset(numa_nodes_ptr, node)) {
        error_setg(errp, "host node %lu in 'node-affinity' of IOThread '%s' "
                   "does not exist", node, id);
        append_usable(errp, usable);
        return false;
    }
    if (node >= usable->nbits || !test_bit(node, usable->bits)) {
        error_setg(errp, "host node %lu in 'node-affinity' of IOThread '%s' "
                   "has no memory that this process may use", node, id);
        append_usable(errp, usable);
        error_append_hint(errp, "Name one of these, or add node %lu to the "
                          "process's cpuset (cgroup cpuset.mems, docker "
                          "--cpuset-mems).\n", node);
        return false;
    }
    return true;
}

static bool check_each(const char *id, const IOThreadSet *nodes,
                       const IOThreadSet *usable, Error **errp)
{
    unsigned long node;

    for (node = find_first_bit(nodes->bits, nodes->nbits); node < nodes->nbits;
         node = find_next_bit(nodes->bits, nodes->nbits, node + 1)) {
        if (!check_node(id, node, usable, errp)) {
            return false;
        }
    }
    return true;
}

bool iothread_check_nodes(IOThread *iothread, const IOThreadSet *nodes,
                          Error **errp)
{
    ERRP_GUARD();
    g_autofree char *id = iothread_get_id(iothread);
    IOThreadSet usable = {};
    bool good = false;
    int err;

    if (numa_available() < 0) {
        error_setg(errp, "'node-affinity' of IOThread '%s' needs NUMA memory "
                   "policies, which this host's kernel lacks or forbids", id);
        append_filter_hint(errp, EPERM);
        return false;
    }
    err = get_usable(&usable);
    if (err) {
        error_setg_errno(errp, err, "cannot read the process's NUMA nodes for "
                         "'node-affinity' of IOThread '%s'", id);
        append_filter_hint(errp, err);
    } else {
        good = check_each(id, nodes, &usable, errp);
    }
    g_free(usable.bits);
    return good;
}

/* Adds the CPUs of @node to @cpus, which has as many bits as @of_node. */
static void add_node_cpus(IOThreadSet *cpus, unsigned long node,
                          struct bitmask *of_node)
{
    unsigned long cpu;

    if (numa_node_to_cpus(node, of_node)) {
        return;
    }
    for (cpu = 0; cpu < cpus->nbits; cpu++) {
        if (numa_bitmask_isbitset(of_node, cpu)) {
            set_bit(cpu, cpus->bits);
        }
    }
}

bool iothread_get_node_cpus(IOThread *iothread, const IOThreadSet *nodes,
                            IOThreadSet *cpus, Error **errp)
{
    ERRP_GUARD();
    struct bitmask *of_node = numa_allocate_cpumask();
    unsigned long node;

    *cpus = (IOThreadSet) { bitmap_new(of_node->size), of_node->size };
    for (node = find_first_bit(nodes->bits, nodes->nbits); node < nodes->nbits;
         node = find_next_bit(nodes->bits, nodes->nbits, node + 1)) {
        add_node_cpus(cpus, node, of_node);
    }
    numa_free_cpumask(of_node);

    if (bitmap_empty(cpus->bits, cpus->nbits)) {
        g_autofree char *id = iothread_get_id(iothread);

        error_setg(errp, "the host nodes in 'node-affinity' of IOThread '%s' "
                   "have no CPU", id);
        error_append_hint(errp, "Name a node with CPUs too, or say with "
                          "cpu-affinity where the thread runs.\n");
        return false;
    }
    return true;
}

typedef struct Policy {
    int mode;
    const IOThreadSet *nodes;
    int err;
} Policy;

/* In the IOThread: a memory policy is its caller's. */
static void set_policy_bh(void *opaque)
{
    Policy *policy = opaque;

    /* + 1: the kernel reads a bit less than it is told (kernel/mempolicy.c) */
    policy->err = set_mempolicy(policy->mode | MPOL_F_STATIC_NODES,
                                policy->nodes->bits, policy->nodes->nbits + 1)
                  ? errno : 0;
}

bool iothread_prefer_nodes(IOThread *iothread, const IOThreadSet *nodes,
                           Error **errp)
{
    ERRP_GUARD();
    const bool many = bitmap_count_one(nodes->bits, nodes->nbits) > 1;
    Policy policy = {
        .mode = many ? MPOL_PREFERRED_MANY : MPOL_PREFERRED,
        .nodes = nodes,
    };

    aio_wait_bh_oneshot(iothread->ctx, set_policy_bh, &policy);
    if (policy.err) {
        g_autofree char *id = iothread_get_id(iothread);

        error_setg_errno(errp, policy.err, "cannot set 'node-affinity' of "
                         "IOThread '%s'", id);
        append_filter_hint(errp, policy.err);
        if (many && policy.err == EINVAL) {
            error_append_hint(errp, "Linux before 5.15 cannot prefer several "
                              "nodes; name one.\n");
        }
        return false;
    }
    return true;
}

#else /* !CONFIG_NUMA */

bool iothread_check_nodes(IOThread *iothread, const IOThreadSet *nodes,
                          Error **errp)
{
    ERRP_GUARD();
    g_autofree char *id = iothread_get_id(iothread);

    error_setg(errp, "'node-affinity' of IOThread '%s' needs libnuma, which "
               "this program was built without", id);
    error_append_hint(errp, "Leave the option out, or build with --enable-numa "
                      "(Debian: libnuma-dev).\n");
    return false;
}

bool iothread_get_node_cpus(IOThread *iothread, const IOThreadSet *nodes,
                            IOThreadSet *cpus, Error **errp)
{
    g_assert_not_reached();     /* no nodes were checked */
}

bool iothread_prefer_nodes(IOThread *iothread, const IOThreadSet *nodes,
                           Error **errp)
{
    g_assert_not_reached();
}

#endif
