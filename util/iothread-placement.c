/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host CPUs of an IOThread and the name of its thread.
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "qemu/bitmap.h"
#include "qemu/thread.h"
#include "qapi/error.h"
#include "qapi/qapi-builtin-visit.h"
#include "system/iothread.h"

/* The kernel keeps 15 bytes of a thread's name (prctl(2), PR_SET_NAME). */
#define THREAD_NAME_MAX 15

/* What a list of uint16 can name. */
#define MAX_CPUS (UINT16_MAX + 1ul)

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

/*
 * The CPUs that the host's kernel lets the thread run on; an errno when it does
 * not tell.  (qemu_thread_get_affinity() fails on hosts with more than 1024 CPUs.)
 */
static int get_affinity(IOThread *iothread, unsigned long **cpus,
                        unsigned long *nbits)
{
#if defined(CONFIG_PTHREAD_AFFINITY_NP)
    unsigned long room, cpu;

    /* EINVAL: the kernel's own set is larger (sched_getaffinity(2)) */
    for (room = CPU_SETSIZE; room <= MAX_CPUS; room *= 2) {
        const size_t size = CPU_ALLOC_SIZE(room);
        cpu_set_t *set = CPU_ALLOC(room);
        int ret = pthread_getaffinity_np(iothread->thread.thread, size, set);

        if (!ret) {
            *nbits = room;
            *cpus = bitmap_new(room);
            for (cpu = 0; cpu < room; cpu++) {
                if (CPU_ISSET_S(cpu, size, set)) {
                    set_bit(cpu, *cpus);
                }
            }
        }
        CPU_FREE(set);
        if (ret != EINVAL) {
            return ret;
        }
    }
    return EINVAL;
#else
    return ENOSYS;
#endif
}

/* The first CPU of @cpus that @allowed lacks, or @nbits when there is none. */
static unsigned long first_missing(const unsigned long *cpus,
                                   unsigned long nbits,
                                   const unsigned long *allowed,
                                   unsigned long allowed_nbits)
{
    unsigned long cpu;

    for (cpu = find_first_bit(cpus, nbits); cpu < nbits;
         cpu = find_next_bit(cpus, nbits, cpu + 1)) {
        if (cpu >= allowed_nbits || !test_bit(cpu, allowed)) {
            return cpu;
        }
    }
    return nbits;
}

static bool cpu_is_online(unsigned long cpu, const char *online)
{
    while (g_ascii_isdigit(*online)) {
        char *end;
        unsigned long first = strtoul(online, &end, 10);
        unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;

        if (cpu >= first && cpu <= last) {
            return true;
        }
        online = *end == ',' ? end + 1 : end;
    }
    return false;
}

/* Why the host does not let the thread run on @cpu. */
static void error_set_refused(Error **errp, IOThread *iothread,
                              unsigned long cpu)
{
    g_autofree char *id = iothread_get_id(iothread);
    g_autofree char *online = NULL;

    /* a list of ranges such as "0-3,8"; Linux: Documentation/ABI/stable */
    if (g_file_get_contents("/sys/devices/system/cpu/online", &online, NULL,
                            NULL)) {
        g_strchomp(online);
    }
    if (online && !cpu_is_online(cpu, online)) {
        error_setg(errp, "host CPU %lu in 'cpu-affinity' of IOThread '%s' does "
                   "not exist or is offline", cpu, id);
        error_append_hint(errp, "CPUs that are online: %s\n", online);
        return;
    }
    error_setg(errp, "host CPU %lu in 'cpu-affinity' of IOThread '%s' is not "
               "allowed for this process", cpu, id);
    error_append_hint(errp, "Name a CPU of the process's cpuset, or add this "
                      "one to it (cgroup cpuset.cpus, docker --cpuset-cpus).\n");
}

/* Moves the running thread to @cpus, all of them or none. */
static bool set_cpus(IOThread *iothread, unsigned long *cpus,
                     unsigned long nbits, Error **errp)
{
    g_autofree unsigned long *before = NULL;
    g_autofree unsigned long *now = NULL;
    unsigned long before_nbits = 0, now_nbits = 0, missing;
    int ret;

    ret = get_affinity(iothread, &before, &before_nbits);
    if (ret) {
        error_setg_errno(errp, ret, "cannot read the CPU affinity of an IOThread");
        return false;
    }
    ret = qemu_thread_set_affinity(&iothread->thread, cpus, nbits);
    /* EINVAL: none of the CPUs is there for this process */
    if (ret && ret != EINVAL) {
        error_setg_errno(errp, abs(ret), "cannot set 'cpu-affinity' of an "
                         "IOThread");
        if (ret == EPERM) {
            error_append_hint(errp, "-sandbox resourcecontrol=deny forbids it; "
                              "allow that, or pin the thread from outside "
                              "(taskset, virsh iothreadpin).\n");
        }
        return false;
    }

    /* The kernel leaves out, silently, what the process may not use. */
    if (!ret) {
        get_affinity(iothread, &now, &now_nbits);
    }
    missing = first_missing(cpus, nbits, now, now_nbits);
    if (missing < nbits) {
        error_set_refused(errp, iothread, missing);
        qemu_thread_set_affinity(&iothread->thread, before, before_nbits);
        return false;
    }
    return true;
}

static void set_cpu_affinity(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    IOThread *iothread = IOTHREAD(obj);
    IOThreadPlacement *placement = &iothread->placement;
    g_autoptr(uint16List) list = NULL;
    g_autofree unsigned long *cpus = NULL;
    unsigned long nbits = 0;
    uint16List *l;

    if (!visit_type_uint16List(v, name, &list, errp)) {
        return;
    }
    if (!list) {
        error_setg(errp, "'%s' names no host CPU; name at least one, or leave "
                   "the option out for any", name);
        return;
    }
    for (l = list; l; l = l->next) {
        nbits = MAX(nbits, l->value + 1);
    }
    cpus = bitmap_new(nbits);
    for (l = list; l; l = l->next) {
        set_bit(l->value, cpus);
    }

    if (placement->started) {
        set_cpus(iothread, cpus, nbits, errp);
        return;
    }
    g_free(placement->cpus);
    placement->cpus = g_steal_pointer(&cpus);
    placement->nbits = nbits;
}

static uint16List *cpu_list(const unsigned long *cpus, unsigned long nbits)
{
    uint16List *list = NULL, **tail = &list;
    unsigned long cpu;

    for (cpu = find_first_bit(cpus, nbits); cpu < nbits;
         cpu = find_next_bit(cpus, nbits, cpu + 1)) {
        QAPI_LIST_APPEND(tail, cpu);
    }
    return list;
}

/* Where the thread may run now, or will; NULL when the host cannot tell. */
static uint16List *get_cpus(IOThread *iothread)
{
    IOThreadPlacement *placement = &iothread->placement;
    g_autofree unsigned long *now = NULL;
    unsigned long nbits = 0;

    if (!placement->started) {
        return cpu_list(placement->cpus, placement->nbits);
    }
    if (get_affinity(iothread, &now, &nbits)) {
        return NULL;
    }
    return cpu_list(now, nbits);
}

static void get_cpu_affinity(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    g_autoptr(uint16List) list = get_cpus(IOTHREAD(obj));

    visit_type_uint16List(v, name, &list, errp);
}

void iothread_placement_class_init(ObjectClass *klass)
{
    object_class_property_add(klass, "cpu-affinity", "uint16List",
                              get_cpu_affinity, set_cpu_affinity, NULL, NULL);
    object_class_property_set_description(klass, "cpu-affinity",
        "Host CPUs that the thread may run on (default: those of the process)");
}

void iothread_placement_start(IOThread *iothread, Error **errp)
{
    IOThreadPlacement *placement = &iothread->placement;

    placement->started = true;
    name_thread(iothread);
    if (placement->cpus) {
        set_cpus(iothread, placement->cpus, placement->nbits, errp);
        g_clear_pointer(&placement->cpus, g_free);
    }
}

void iothread_placement_cleanup(IOThread *iothread)
{
    iothread->placement.started = false;
    g_clear_pointer(&iothread->placement.cpus, g_free);
}

void iothread_placement_query(IOThread *iothread, IOThreadInfo *info)
{
    info->cpu_affinity = get_cpus(iothread);
    info->has_cpu_affinity = info->cpu_affinity != NULL;
}
