/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IOThreads of a block export.
 */

#include "qemu/osdep.h"
#include "block/export-threads.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qemu/main-loop.h"
#include "system/iothread.h"

struct BlockExportThreads {
    unsigned num;
    IOThread *iothreads[];
};

static bool has_iothread(const BlockExportThreads *threads, IOThread *iothread)
{
    for (unsigned i = 0; i < threads->num; i++) {
        if (threads->iothreads[i] == iothread) {
            return true;
        }
    }
    return false;
}

static bool add_iothread(BlockExportThreads *threads, const char *id,
                         Error **errp)
{
    IOThread *iothread = iothread_by_id(id);

    if (!iothread) {
        error_setg(errp, "iothread \"%s\" not found", id);
        return false;
    }
    if (has_iothread(threads, iothread)) {
        error_setg(errp, "iothread \"%s\" is given twice in 'iothread'; "
                   "name each once", id);
        return false;
    }
    object_ref(OBJECT(iothread));
    threads->iothreads[threads->num++] = iothread;
    return true;
}

static bool check_length(const BlockExportDriver *drv, size_t length,
                         Error **errp)
{
    if (length == 0) {
        error_setg(errp, "'iothread' is an empty list; name an IOThread, or "
                   "leave it out");
        return false;
    }
    if (length > 1 && !drv->supports_iothread_list) {
        error_setg(errp, "An export of type '%s' runs in one IOThread; give "
                   "'iothread' one name", BlockExportType_str(drv->type));
        return false;
    }
    return true;
}

BlockExportThreads *blk_exp_threads_new(const BlockExportDriver *drv,
                                        const BlockExportOptions *options,
                                        Error **errp)
{
    const BlockExportIothreads *option = options->iothread;
    const strList single = { .value = option->u.single };
    const strList *names = option->type == QTYPE_QSTRING ? &single
                                                         : option->u.multi;
    g_autoptr(BlockExportThreads) threads = NULL;
    size_t length = QAPI_LIST_LENGTH(names);

    GLOBAL_STATE_CODE();

    if (!check_length(drv, length, errp)) {
        return NULL;
    }
    threads = g_malloc0(sizeof(*threads) +
                        length * sizeof(threads->iothreads[0]));
    for (; names; names = names->next) {
        if (!add_iothread(threads, names->value, errp)) {
            return NULL;
        }
    }
    return g_steal_pointer(&threads);
}

void blk_exp_threads_free(BlockExportThreads *threads)
{
    GLOBAL_STATE_CODE();

    for (unsigned i = 0; threads && i < threads->num; i++) {
        object_unref(OBJECT(threads->iothreads[i]));
    }
    g_free(threads);
}

static bool has_several(const BlockExportThreads *threads)
{
    return threads && threads->num > 1;
}

AioContext *blk_exp_threads_first(const BlockExportThreads *threads)
{
    return iothread_get_aio_context(threads->iothreads[0]);
}

void blk_exp_threads_describe(const BlockExportThreads *threads,
                              BlockExportInfo *info)
{
    strList **tail = &info->iothreads;

    if (!has_several(threads)) {
        return;
    }
    info->has_iothreads = true;
    for (unsigned i = 0; i < threads->num; i++) {
        QAPI_LIST_APPEND(tail, iothread_get_id(threads->iothreads[i]));
    }
}

AioContext *blk_exp_queue_ctx(const BlockExport *exp, unsigned queue)
{
    const BlockExportThreads *threads = exp->threads;

    if (!has_several(threads)) {
        return exp->ctx;
    }
    return iothread_get_aio_context(threads->iothreads[queue % threads->num]);
}
