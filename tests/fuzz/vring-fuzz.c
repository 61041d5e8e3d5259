/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A fuzzer's input as the memory of a ring, and as what its device does meanwhile.
 *
 * The memory is in two pieces that are as long as they claim to be, and a sanitizer
 * knows their ends.  What is popped is read and written to, all of it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/virtio/vring.h"

#define PACKED_NUM 5
#define SPLIT_NUM 8
#define RING_GPA 0x1000
#define AVAIL_GPA (RING_GPA + 0x100)
#define USED_GPA (RING_GPA + 0x180)
#define DATA_GPA 0x2000
#define DATA_SIZE 0x200

/* where descriptors of addresses and lengths above what there is are of use too */
static const uint64_t odd_addrs[] = {
    0, RING_GPA, DATA_GPA + DATA_SIZE - 1, UINT64_MAX, DATA_GPA - 1, 1ull << 63,
};

typedef struct Input {
    const uint8_t *at;
    size_t left;
} Input;

typedef struct World {
    VringMap map;
    VringRegion region[2];
    bool released;
} World;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t next(Input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

static void released(VringMap *map)
{
    World *w = container_of(map, World, map);

    g_assert(!w->released);
    w->released = true;
    g_free(w->region[0].host);
    g_free(w->region[1].host);
    g_free(w);
}

static void written(VringMap *map, const VringRegion *region, uint64_t offset,
                    uint64_t size)
{
    g_assert(offset <= region->size && size <= region->size - offset);
}

/* The ring's memory, which is not all there if @ring_size says so, and data. */
static World *new_world(uint8_t how)
{
    World *w = g_new0(World, 1);
    unsigned ring_size = how & 1 ? 0x200 : 0x1000;

    w->map = (VringMap) {
        .refs = 1, .n = 2, .region = w->region, .release = released,
        .written = how & 2 ? written : NULL,
    };
    w->region[0] = (VringRegion) {
        .gpa = RING_GPA, .size = ring_size, .host = g_malloc0(ring_size),
    };
    w->region[1] = (VringRegion) {
        .gpa = DATA_GPA, .size = DATA_SIZE, .host = g_malloc0(DATA_SIZE),
    };
    return w;
}

/* Bytes anywhere, or a field of a descriptor with one of the odd values. */
static void write_memory(World *w, Input *in)
{
    VringRegion *region = &w->region[next(in) & 1];
    unsigned offset = (next(in) | next(in) << 8) % region->size;
    uint8_t how = next(in);

    if (how & 0x80) {
        uint64_t value = odd_addrs[how % G_N_ELEMENTS(odd_addrs)];

        offset &= ~7;
        memcpy(region->host + offset, &value, sizeof(value));
        return;
    }
    for (unsigned n = (how & 31) + 1; n && offset < region->size; n--) {
        region->host[offset++] = next(in);
    }
}

/* A descriptor of the ring, or of a table in the data, that is likely to be one. */
static void write_desc(World *w, Input *in, bool packed)
{
    uint8_t how = next(in), flags = next(in);
    uint8_t *at = how & 0x80 ? w->region[1].host + (how & 31) * 16 :
                               w->region[0].host + (how & 7) * 16;
    uint64_t addr = DATA_GPA + next(in) * 4;
    uint32_t len = next(in);
    uint16_t last = flags & 7;

    if (packed) {
        last |= (flags & 8 ? 1 << 7 : 0) | (flags & 16 ? 1 << 15 : 0);
    }
    len <<= flags >> 5 & 4;
    memcpy(at, &addr, 8);
    memcpy(at + 8, &len, 4);
    memcpy(at + (packed ? 14 : 12), &last, 2);
    last = next(in) & 15;
    memcpy(at + (packed ? 12 : 14), &last, 2);
}

/* Where a driver that keeps to the rules would go on. */
typedef struct Place {
    unsigned slot;
    bool wrap;
} Place;

/* A chain of one to four descriptors as it should be, and available. */
static void add_chain(World *w, Input *in, bool packed, Place *at)
{
    uint8_t *ring = w->region[0].host;
    uint8_t *avail = ring + (AVAIL_GPA - RING_GPA);
    unsigned how = next(in), n = (how & 3) + 1, num = packed ? PACKED_NUM : SPLIT_NUM;
    uint16_t index, head = at->slot;

    for (unsigned i = 0; i < n; i++) {
        uint64_t addr = DATA_GPA + next(in) * 2;
        uint32_t len = 1 + (how >> 4);
        uint16_t flags = (i + 1 < n) | (how & 4 && i + 1 == n ? 2 : 0);
        uint16_t other = packed ? head : (at->slot + 1) % num;

        if (packed) {
            flags |= at->wrap ? 1 << 7 : 1 << 15;
        } else if (how & 8) {
            flags |= 4;         /* a table, perhaps */
            len *= 16;
        }
        memcpy(ring + at->slot * 16, &addr, 8);
        memcpy(ring + at->slot * 16 + 8, &len, 4);
        memcpy(ring + at->slot * 16 + (packed ? 14 : 12), &flags, 2);
        memcpy(ring + at->slot * 16 + (packed ? 12 : 14), &other, 2);
        if (++at->slot == num) {
            at->slot = 0;
            at->wrap = !at->wrap;
        }
    }
    if (!packed) {
        memcpy(&index, avail + 2, 2);
        memcpy(avail + 4 + (index & 7) * 2, &head, 2);
        index++;
        memcpy(avail + 2, &index, 2);
    }
}

static void use(const VringElem *elem)
{
    volatile uint8_t sum = 0;

    for (unsigned i = 0; i < elem->out_num + elem->in_num; i++) {
        uint8_t *at = elem->sg[i].iov_base;

        g_assert(elem->sg[i].iov_len > 0);
        if (i >= elem->out_num) {
            memset(at, i, elem->sg[i].iov_len);
        }
        for (size_t n = 0; n < elem->sg[i].iov_len; n++) {
            sum += at[n];
        }
    }
}

/* Slots are in the ring, and no more are in flight than there are. */
static void check_place(Vring *vring, bool packed)
{
    VringState at;

    vring_get_state(vring, &at);
    if (packed) {
        g_assert(at.avail < PACKED_NUM && at.used < PACKED_NUM);
    } else {
        g_assert((uint16_t)(at.avail - at.used) <= SPLIT_NUM);
    }
}

static void run(Vring *vring, World **world, Input *in, bool packed)
{
    VringElem *elems[VRING_MAX_SIZE];
    Place place = { 0, true };
    unsigned n = 0;

    while (in->left) {
        uint8_t op = next(in);
        Error *err = NULL;

        switch (op & 7) {
        case 0:
            write_memory(*world, in);
            break;
        case 1:
            if (op & 8) {
                add_chain(*world, in, packed, &place);
            } else {
                write_desc(*world, in, packed);
            }
            break;
        case 2:
        case 3: {
            VringElem *elem;
            bool was_broken = vring_is_broken(vring);
            VringPop pop = vring_pop(vring, &elem, &err);

            g_assert(!!err == (pop == VRING_BROKEN && !was_broken));
            g_assert((pop == VRING_BROKEN) == vring_is_broken(vring));
            if (pop == VRING_POPPED) {
                elems[n++] = elem;
                use(elem);
            }
            break;
        }
        case 4:
            if (n) {
                unsigned i = next(in) % n;
                VringElem *elem = elems[i];

                elems[i] = elems[--n];
                vring_push(vring, elem, next(in) * 7);
            }
            break;
        case 5:
            vring_publish(vring);
            break;
        case 6:
            vring_set_kicks(vring, op & 8);
            vring_is_empty(vring);
            break;
        default: {
            World *old = *world;

            *world = new_world(op >> 3);
            vring_set_map(vring, &(*world)->map);
            vring_map_unref(&old->map);
        }
        }
        error_free(err);
        g_assert(vring_in_flight(vring) == n);
        check_place(vring, packed);
    }
    while (n) {
        vring_push(vring, elems[--n], 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };
    uint8_t how = next(&in);
    World *world = new_world(how >> 6);
    VringConfig config = {
        .packed = how & 1, .event_idx = how & 2, .in_order = how & 4,
        .num = how & 1 ? PACKED_NUM : SPLIT_NUM,
        .desc = RING_GPA, .avail = AVAIL_GPA, .used = USED_GPA,
    };
    Vring *vring = vring_new(&config, sizeof(VringElem), &error_abort);
    g_autofree uint8_t *area = NULL;
    bool good = true;

    vring_set_map(vring, &world->map);
    if (how & 8) {
        size_t area_size = vring_inflight_size(config.num, config.packed);
        uint8_t begin = next(&in);

        area = g_malloc0(area_size);
        for (unsigned i = 0; i < begin; i++) {
            area[i % area_size] ^= next(&in);
        }
        for (unsigned i = 0; i < (begin & 7); i++) {
            write_memory(world, &in);
        }
        good = vring_set_base(vring, config.packed ? 0x80008000 : 0, NULL) &&
               vring_set_inflight(vring, area, area_size, NULL);
    }
    if (good) {
        run(vring, &world, &in, config.packed);
    }
    vring_free(vring);
    vring_map_unref(&world->map);
    return 0;
}
