/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which thread has which home.
 */

#include "qemu/osdep.h"
#include "block/aio-home.h"
#include "qemu/coroutine-tls.h"
#include "qemu/lockable.h"
#include "qemu/notify.h"
#include "qemu/thread.h"

QEMU_DEFINE_STATIC_CO_TLS(unsigned, my_home)
static __thread Notifier my_exit;

/* Homes in use, by number; home 0 has no AioContext. */
static struct {
    QemuMutex lock;
    AioContext **ctx;
    unsigned n;
} homes;

unsigned aio_home_epoch;

static void __attribute__((__constructor__)) aio_home_init(void)
{
    qemu_mutex_init(&homes.lock);
    homes.n = 1;
    homes.ctx = g_new0(AioContext *, 1);
}

unsigned aio_home(void)
{
    return get_my_home();
}

/*
 * The lock hands what the arrays hold at this home from the thread that ends to
 * the one that gets it next.
 */
static void aio_home_leave(Notifier *notifier, void *unused)
{
    QEMU_LOCK_GUARD(&homes.lock);
    homes.ctx[get_my_home()] = NULL;
    set_my_home(AIO_HOME_SHARED);
}

void aio_home_enter(AioContext *ctx)
{
    unsigned home;

    assert(get_my_home() == AIO_HOME_SHARED);
    WITH_QEMU_LOCK_GUARD(&homes.lock) {
        for (home = 1; home < homes.n && homes.ctx[home]; home++) {
            /* the lowest that is free: the arrays stay short */
        }
        if (home == homes.n) {
            homes.ctx = g_renew(AioContext *, homes.ctx, ++homes.n);
        }
        homes.ctx[home] = ctx;
        qatomic_set(&aio_home_epoch, aio_home_epoch + 1);
    }
    set_my_home(home);
    my_exit.notify = aio_home_leave;
    qemu_thread_atexit_add(&my_exit);
}

AioContext *aio_home_context(unsigned home)
{
    QEMU_LOCK_GUARD(&homes.lock);
    return home < homes.n ? homes.ctx[home] : NULL;
}

bool aio_home_lives(AioContext *ctx)
{
    unsigned home;

    QEMU_LOCK_GUARD(&homes.lock);
    for (home = 1; home < homes.n; home++) {
        if (homes.ctx[home] == ctx) {
            return true;
        }
    }
    return false;
}
