/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IOThreads of a block export: one, or several of which each queue of the
 * export, or each connection to it, has one.
 *
 * blk_exp_add() makes the list from the user's option and the export owns it.
 * It does not change while the export exists, and its references keep
 * object-del from removing an IOThread that the export may still run in.
 */

#ifndef BLOCK_EXPORT_THREADS_H
#define BLOCK_EXPORT_THREADS_H

#include "block/export.h"

typedef struct BlockExportThreads BlockExportThreads;

/*
 * The IOThreads that @options names for an export of @drv; NULL with an error
 * if they cannot be had.  @options has the member iothread.  Main loop.
 */
BlockExportThreads *blk_exp_threads_new(const BlockExportDriver *drv,
                                        const BlockExportOptions *options,
                                        Error **errp);

/* Gives the IOThreads back; @threads may be NULL.  Main loop. */
void blk_exp_threads_free(BlockExportThreads *threads);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlockExportThreads, blk_exp_threads_free)

/* Where the node and the BlockBackend of the export are to be. */
AioContext *blk_exp_threads_first(const BlockExportThreads *threads);

/*
 * Puts their names into @info if there are several: where a single one was
 * named, the export is where its node is.  Main loop.
 */
void blk_exp_threads_describe(const BlockExportThreads *threads,
                              BlockExportInfo *info);

/*
 * The AioContext in which queue, or connection, @queue of @exp is to run.  With
 * several IOThreads it is the same for as long as @exp exists.  With one or
 * none it is @exp->ctx, which changes with that of the node: to be asked for
 * anew after each drained section.  Any thread, outside of such a change.
 */
AioContext *blk_exp_queue_ctx(const BlockExport *exp, unsigned queue);

#endif /* BLOCK_EXPORT_THREADS_H */
