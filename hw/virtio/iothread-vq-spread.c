/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The property iothread-vq-spread, and the host nodes of virtual CPUs and
 * IOThreads that it goes by.
 */

#include "qemu/osdep.h"
#include "hw/boards.h"
#include "hw/core/qdev-prop-internal.h"
#include "hw/virtio/iothread-vq-spread.h"
#include "qapi/error.h"
#include "qapi/qapi-builtin-types.h"
#include "system/hostmem.h"
#include "system/iothread.h"
#include "system/numa.h"

const PropertyInfo qdev_prop_iothread_vq_spread = {
    .type = "IOThreadVirtQueueSpread",
    .description = "How iothread-vq-mapping without vqs spreads virtqueues: "
                   "round-robin or numa (default: round-robin)",
    .enum_table = &IOThreadVirtQueueSpread_lookup,
    .get = qdev_propinfo_get_enum,
    .set = qdev_propinfo_set_enum,
    .set_default_value = qdev_propinfo_set_default_value_enum,
};

/* The one host node that a backend's memory is bound to. */
static int node_of_memory(const HostMemoryBackend *memory)
{
    unsigned long node;

    if (!memory) {
        return HOST_NODE_UNKNOWN;
    }
    node = find_first_bit(memory->host_nodes, MAX_NODES);
    if (node >= MAX_NODES ||
        find_next_bit(memory->host_nodes, MAX_NODES, node + 1) < MAX_NODES) {
        return HOST_NODE_UNKNOWN;
    }
    return node;
}

/* The host node of each guest node's memory; a guest without nodes is one. */
static int *nodes_of_memory(const MachineState *machine, unsigned *num)
{
    const NumaState *numa = machine->numa_state;
    bool has_nodes = numa && numa->num_nodes;
    int *nodes;
    unsigned i;

    *num = has_nodes ? numa->num_nodes : 1;
    nodes = g_new(int, *num);
    for (i = 0; i < *num; i++) {
        nodes[i] = node_of_memory(has_nodes ? numa->nodes[i].node_memdev
                                            : machine->memdev);
    }
    return nodes;
}

/*
 * The guest node of each virtual CPU that the machine starts with: among those the
 * guest's driver shares out the queues.
 */
static unsigned *nodes_of_vcpus(MachineState *machine, unsigned num_nodes,
                                unsigned *num)
{
    MachineClass *mc = MACHINE_GET_CLASS(machine);
    const CPUArchIdList *vcpus;
    unsigned *nodes;
    unsigned i;

    *num = 0;
    if (!mc->possible_cpu_arch_ids) {
        return NULL;
    }
    vcpus = mc->possible_cpu_arch_ids(machine);
    *num = MIN(vcpus->len, machine->smp.cpus);
    nodes = g_new0(unsigned, *num);
    for (i = 0; i < *num; i++) {
        const CpuInstanceProperties *props = &vcpus->cpus[i].props;

        if (props->has_node_id && props->node_id < num_nodes) {
            nodes[i] = props->node_id;
        }
    }
    return nodes;
}

static bool are_all_listed(const uint16List *cpus, const char *list)
{
    for (; cpus; cpus = cpus->next) {
        if (!iothread_cpu_is_listed(cpus->value, list)) {
            return false;
        }
    }
    return true;
}

/* The one host node whose CPUs the thread may run on. */
static int node_of_iothread(IOThread *iothread)
{
    g_autoptr(IOThreadInfo) info = g_new0(IOThreadInfo, 1);
    int node;

    iothread_placement_query(iothread, info);
    if (!info->cpu_affinity) {
        return HOST_NODE_UNKNOWN;
    }
    for (node = 0; node < MAX_NODES; node++) {
        g_autofree char *list = NULL;
        g_autofree char *path =
            g_strdup_printf("/sys/devices/system/node/node%d/cpulist", node);

        if (g_file_get_contents(path, &list, NULL, NULL) &&
            are_all_listed(info->cpu_affinity, list)) {
            return node;
        }
    }
    return HOST_NODE_UNKNOWN;
}

bool iothread_vq_spread_check(IOThreadVirtQueueSpread spread,
                              const IOThreadVirtQueueMappingList *mapping,
                              Error **errp)
{
    ERRP_GUARD();

    if (spread == IO_THREAD_VIRT_QUEUE_SPREAD_ROUND_ROBIN) {
        return true;
    }
    if (!mapping) {
        error_setg(errp, "iothread-vq-spread=%s needs the property "
                   "iothread-vq-mapping", IOThreadVirtQueueSpread_str(spread));
        error_append_hint(errp, "Name the IOThreads there, without vqs.\n");
        return false;
    }
    if (mapping->value->vqs) {
        error_setg(errp, "iothread-vq-spread=%s has nothing to spread: "
                   "iothread-vq-mapping assigns virtqueues with vqs",
                   IOThreadVirtQueueSpread_str(spread));
        error_append_hint(errp, "Leave out one of them: vqs, or "
                          "iothread-vq-spread.\n");
        return false;
    }
    return true;
}

void iothread_vq_spread_apply(IOThreadVirtQueueSpread spread,
                              const IOThreadVirtQueueMappingList *mapping,
                              AioContext **vq_aio_context, uint16_t num_queues)
{
    MachineState *machine = MACHINE(qdev_get_machine());
    g_autoptr(GPtrArray) threads = g_ptr_array_new();
    g_autoptr(GArray) thread_nodes = g_array_new(false, false, sizeof(int));
    g_autofree unsigned *thread_of_queue = g_new(unsigned, num_queues);
    g_autofree unsigned *vcpu_nodes = NULL;
    g_autofree int *host_nodes = NULL;
    IOThreadVqLayout layout;
    unsigned i;

    if (spread == IO_THREAD_VIRT_QUEUE_SPREAD_ROUND_ROBIN) {
        return;
    }
    for (; mapping; mapping = mapping->next) {
        IOThread *iothread = iothread_by_id(mapping->value->iothread);
        int node = node_of_iothread(iothread);

        g_ptr_array_add(threads, iothread);
        g_array_append_val(thread_nodes, node);
    }
    layout.thread_nodes = (int *)thread_nodes->data;
    layout.num_threads = threads->len;
    layout.host_nodes = host_nodes = nodes_of_memory(machine, &layout.num_nodes);
    layout.vcpu_nodes = vcpu_nodes =
        nodes_of_vcpus(machine, layout.num_nodes, &layout.num_vcpus);
    iothread_vq_choose(&layout, thread_of_queue, num_queues);
    for (i = 0; i < num_queues; i++) {
        IOThread *iothread = g_ptr_array_index(threads, thread_of_queue[i]);

        vq_aio_context[i] = iothread_get_aio_context(iothread);
    }
}
