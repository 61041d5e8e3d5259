/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block export that a BlockBackend belongs to.
 */

#ifndef BLOCK_EXPORT_OF_H
#define BLOCK_EXPORT_OF_H

#include "system/block-backend.h"

/* The ID of the export whose requests @blk makes, or NULL.  Main loop. */
const char *blk_exp_id(BlockBackend *blk);

#endif /* BLOCK_EXPORT_OF_H */
