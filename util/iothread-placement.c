/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The properties that place an IOThread, and the name of its thread.
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qapi/error.h"
#include "qapi/qapi-builtin-visit.h"
#include "iothread-affinity.h"

/* The kernel keeps 15 bytes of a thread's name (prctl(2), PR_SET_NAME). */
#define THREAD_NAME_MAX 15

/*
 * "IO <id>".  Of a longer id the end is kept, where "disk-with-a-name-0" and
 * "disk-with-a-name-1" differ; pthread_setname_np() would refuse the whole.
 */
static void name_thread(IOThread *iothread)
{
    g_autofree char *id = iothread_get_id(iothread);
    const int room = THREAD_NAME_MAX - strlen("IO ");
    const int len = strlen(id);
    g_autofree char *name = len <= room
        ? g_strdup_printf("IO %s", id)
        : g_strdup_printf("IO ~%s", id + len - (room - 1));

#if defined(CONFIG_PTHREAD_SETNAME_NP_W_TID)
    pthread_setname_np(iothread->thread.thread, name);
#endif
}

static void clear(IOThreadSet *set)
{
    g_clear_pointer(&set->bits, g_free);
    set->nbits = 0;
}

/* Replaces what is in @to; @from is empty then. */
static void take(IOThreadSet *to, IOThreadSet *from)
{
    clear(to);
    *to = *from;
    *from = (IOThreadSet) {};
}

static uint16List *list_of(const IOThreadSet *set)
{
    uint16List *list = NULL, **tail = &list;
    unsigned long bit;

    for (bit = find_first_bit(set->bits, set->nbits); bit < set->nbits;
         bit = find_next_bit(set->bits, set->nbits, bit + 1)) {
        QAPI_LIST_APPEND(tail, bit);
    }
    return list;
}

/* A list that a user wrote, of what @things says. */
static bool visit_set(Visitor *v, const char *name, const char *things,
                      IOThreadSet *set, Error **errp)
{
    g_autoptr(uint16List) list = NULL;
    uint16List *l;

    if (!visit_type_uint16List(v, name, &list, errp)) {
        return false;
    }
    if (!list) {
        error_setg(errp, "'%s' names no host %s; name at least one, or leave "
                   "the option out for any", name, things);
        return false;
    }
    for (l = list; l; l = l->next) {
        set->nbits = MAX(set->nbits, l->value + 1);
    }
    set->bits = bitmap_new(set->nbits);
    for (l = list; l; l = l->next) {
        set_bit(l->value, set->bits);
    }
    return true;
}

/* Moves the running thread to the CPUs of @nodes. */
static bool move_to_nodes(IOThread *iothread, const IOThreadSet *nodes,
                          Error **errp)
{
    IOThreadSet cpus = {};
    const bool done = iothread_get_node_cpus(iothread, nodes, &cpus, errp) &&
                      iothread_set_node_cpus(iothread, &cpus, errp);

    clear(&cpus);
    return done;
}

/* Both halves of node-affinity, or neither. */
static bool set_nodes(IOThread *iothread, const IOThreadSet *nodes,
                      Error **errp)
{
    const bool move = !iothread->placement.cpus.bits;
    IOThreadSet before = {};
    bool done;

    if (!iothread_check_nodes(iothread, nodes, errp)) {
        return false;
    }
    if (!move) {
        return iothread_prefer_nodes(iothread, nodes, errp);
    }
    if (!iothread_get_cpus(iothread, &before, errp)) {
        return false;
    }
    if (!move_to_nodes(iothread, nodes, errp)) {
        clear(&before);
        return false;
    }
    done = iothread_prefer_nodes(iothread, nodes, errp);
    if (!done) {
        iothread_restore_cpus(iothread, &before);
    }
    clear(&before);
    return done;
}

static void set_cpu_affinity(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    IOThread *iothread = IOTHREAD(obj);
    IOThreadPlacement *placement = &iothread->placement;
    IOThreadSet cpus = {};

    if (visit_set(v, name, "CPU", &cpus, errp) &&
        (!placement->started || iothread_set_cpus(iothread, &cpus, errp))) {
        take(&placement->cpus, &cpus);
    }
    clear(&cpus);
}

static void set_node_affinity(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    IOThread *iothread = IOTHREAD(obj);
    IOThreadPlacement *placement = &iothread->placement;
    IOThreadSet nodes = {};

    if (visit_set(v, name, "node", &nodes, errp) &&
        (!placement->started || set_nodes(iothread, &nodes, errp))) {
        take(&placement->nodes, &nodes);
    }
    clear(&nodes);
}

/* Where the thread may run now, or will; NULL when the host cannot tell. */
static uint16List *get_cpus(IOThread *iothread)
{
    IOThreadPlacement *placement = &iothread->placement;
    IOThreadSet now = {};
    uint16List *list;

    if (!placement->started) {
        return list_of(&placement->cpus);
    }
    iothread_get_cpus(iothread, &now, NULL);
    list = list_of(&now);
    clear(&now);
    return list;
}

/* What the thread was told: only itself can ask for its memory policy. */
static uint16List *get_nodes(IOThread *iothread)
{
    return list_of(&iothread->placement.nodes);
}

static void get_cpu_affinity(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    g_autoptr(uint16List) list = get_cpus(IOTHREAD(obj));

    visit_type_uint16List(v, name, &list, errp);
}

static void get_node_affinity(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    g_autoptr(uint16List) list = get_nodes(IOTHREAD(obj));

    visit_type_uint16List(v, name, &list, errp);
}

void iothread_placement_class_init(ObjectClass *klass)
{
    object_class_property_add(klass, "cpu-affinity", "uint16List",
                              get_cpu_affinity, set_cpu_affinity, NULL, NULL);
    object_class_property_set_description(klass, "cpu-affinity",
        "Host CPUs that the thread may run on (default: those of "
        "node-affinity, or of the process)");
    object_class_property_add(klass, "node-affinity", "uint16List",
                              get_node_affinity, set_node_affinity, NULL, NULL);
    object_class_property_set_description(klass, "node-affinity",
        "Host NUMA nodes whose memory the thread prefers, and whose CPUs it "
        "runs on unless cpu-affinity is given (default: none)");
}

void iothread_placement_start(IOThread *iothread, Error **errp)
{
    IOThreadPlacement *placement = &iothread->placement;

    placement->started = true;
    name_thread(iothread);
    if (placement->cpus.bits &&
        !iothread_set_cpus(iothread, &placement->cpus, errp)) {
        return;
    }
    if (placement->nodes.bits) {
        set_nodes(iothread, &placement->nodes, errp);
    }
}

void iothread_placement_cleanup(IOThread *iothread)
{
    IOThreadPlacement *placement = &iothread->placement;

    placement->started = false;
    clear(&placement->cpus);
    clear(&placement->nodes);
}

void iothread_placement_query(IOThread *iothread, IOThreadInfo *info)
{
    info->cpu_affinity = get_cpus(iothread);
    info->has_cpu_affinity = info->cpu_affinity != NULL;
    info->node_affinity = get_nodes(iothread);
    info->has_node_affinity = info->node_affinity != NULL;
}
