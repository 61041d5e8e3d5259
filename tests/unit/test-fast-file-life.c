/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file leaves of the fast path: a file is opened, opened again, let go; and an option that it refuses.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qemu/main-loop.h"
#include "fast-file-world.h"

/* An open file cannot be leased for reading while anyone has it open to write. */
static bool somebody_has_it_open(const char *path)
{
    int fd = open(path, O_RDONLY);
    bool refused;

    g_assert_cmpint(fd, >=, 0);
    refused = fcntl(fd, F_SETLEASE, F_RDLCK) < 0;
    close(fd);
    return refused;
}

static void a_closed_file_is_let_go(World *w)
{
    int i;

    for (i = 0; i < 3; i++) {
        write_and_verify(w, 0, 0, 8, 1, i);
        write_and_verify(w, 1, BLOCK * 8, 8, 1, i);
        g_assert_true(somebody_has_it_open(w->path));
        blk_unref(w->blk);
        g_assert_false(somebody_has_it_open(w->path));
        world_open(w);
    }
}

/* Other files come and go, and get the numbers of those that went. */
static void each_file_gets_its_own_data(World *w)
{
    World other[8];
    int i, round;

    for (round = 0; round < 3; round++) {
        for (i = 0; i < ARRAY_SIZE(other); i++) {
            other[i] = *w;
            other[i].path = g_strdup_printf("%s-%d", w->path, i);
            g_assert_true(g_file_set_contents(other[i].path, "", 0, NULL));
            g_assert_cmpint(truncate(other[i].path, FILE_SIZE), ==, 0);
            world_open(&other[i]);
            write_and_verify(&other[i], i % 2, 0, 4, 1, round * 8 + i);
        }
        for (i = 0; i < ARRAY_SIZE(other); i++) {
            Batch b = {
                .w = &other[i], .op = BLK_FAST_READ, .bytes = BLOCK, .n = 4
            };

            batch_init(&b);
            batch_in(!(i % 2), &b);
            verify(&b, round * 8 + i, BLOCK * 4);
            batch_free(&b);
        }
        for (i = 0; i < ARRAY_SIZE(other); i++) {
            blk_unref(other[i].blk);
            unlink(other[i].path);
            g_free(other[i].path);
        }
    }
}

static void files_come_and_go_under_load(World *w)
{
    Load load;

    load_start(&load, w);
    each_file_gets_its_own_data(w);
    load_finish(&load);
    /* a change of the graph drains all: some of them went the ordinary way */
    g_assert_cmpint(fast_ops(w, BLK_FAST_READ) + ordinary_ops(w, BLK_FAST_READ),
                    ==, 2 * 50 * 32);
}

/* With auto-read-only the node opens its file again when somebody is to write. */
static void a_file_opened_again_is_used(World *w)
{
    QDict *options = qdict_new();
    BlockDriverState *bs;
    Batch b = { .w = w, .op = BLK_FAST_READ, .bytes = BLOCK, .n = 4 };

    write_and_verify(w, 0, 0, 4, 1, 50);
    blk_unref(w->blk);
    qdict_put_str(options, "driver", "file");
    qdict_put_str(options, "aio", w->where->aio);
    qdict_put_bool(options, BDRV_OPT_AUTO_READ_ONLY, true);
    qdict_put_bool(options, BDRV_OPT_READ_ONLY, false);
    bs = bdrv_open(w->path, NULL, options,
                   BDRV_O_RDWR | BDRV_O_AUTO_RDONLY |
                   (w->where->direct ? BDRV_O_NOCACHE : 0), &error_abort);
    w->blk = blk_new(qemu_get_aio_context(), BLK_PERM_CONSISTENT_READ,
                     BLK_PERM_ALL);
    blk_insert_bs(w->blk, bs, &error_abort);
    bdrv_unref(bs);
    w->fast = blk_fast(w->blk);
    wait_resolved(w);

    batch_init(&b);
    batch_in(0, &b);
    all_are(&b, 0);
    verify(&b, 50, BLOCK * 4);
    g_assert_cmpint(fast_ops(w, BLK_FAST_READ), ==, 4);
    g_assert_false(somebody_has_it_open(w->path));      /* to write */

    blk_set_perm(w->blk, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL,
                 &error_abort);
    wait_resolved(w);
    write_and_verify(w, 0, 0, 4, 1, 51);
    g_assert_cmpint(fast_ops(w, BLK_FAST_WRITE), ==, 4);

    blk_set_perm(w->blk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort);
    wait_resolved(w);
    g_assert_false(somebody_has_it_open(w->path));
    batch_in(0, &b);
    verify(&b, 51, BLOCK * 4);
    batch_free(&b);
}

static void polling_needs_direct_io_uring(void)
{
    static const struct {
        const char *aio;
        int flags;
        const char *error;
    } wrong[] = {
        { "threads", BDRV_O_NOCACHE, "io-uring-iopoll=on requires aio=io_uring" },
        { "native", BDRV_O_NOCACHE, "io-uring-iopoll=on requires aio=io_uring" },
        { "io_uring", 0, "io-uring-iopoll=on requires cache.direct=on" },
    };
    g_autofree char *path = g_strdup("./test-fast-file-XXXXXX");
    int fd = g_mkstemp(path);
    int i;

    for (i = 0; i < ARRAY_SIZE(wrong); i++) {
        QDict *options = qdict_new();
        Error *err = NULL;

        qdict_put_str(options, "driver", "file");
        qdict_put_str(options, "aio", wrong[i].aio);
        qdict_put_bool(options, "io-uring-iopoll", true);
        g_assert_null(blk_new_open(path, NULL, options, wrong[i].flags, &err));
        g_assert_true(g_str_has_prefix(error_get_pretty(err), wrong[i].error));
        error_free(err);
    }
    unlink(path);
    close(fd);
}

int main(int argc, char **argv)
{
    fast_file_init(&argc, &argv);
    ADD(a_closed_file_is_let_go);
    ADD(each_file_gets_its_own_data);
    ADD(files_come_and_go_under_load);
    ADD(a_file_opened_again_is_used);
    g_test_add_func("/fast-file/polling_needs_direct_io_uring",
                    polling_needs_direct_io_uring);
    return g_test_run();
}
