/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How an AioContext waits.
 */

#include "qemu/osdep.h"
#include "block/aio.h"

void aio_context_set_poll_mode(AioContext *ctx, AioPollMode mode)
{
    qatomic_set(&ctx->loop.mode, mode);
    aio_notify(ctx);
}
