/* How many tiles a mask leaves: the plane of all tiles of one batch entry is cut in halves until a part is empty, full
 * or one tile. */
#include "ir/interpret.h"
#include "ir/tile_class.h"

typedef struct Plane {
    const Node *attend;
    const Graph *model;
    const int64_t *sizes;
    TileTest test;
    int64_t *low, *high; /* of the leaves */
    int tile_rows;
    int64_t rows, keys;
    TileCount *count;
} Plane;

typedef struct Part {
    int64_t row, rows, key, keys; /* in tiles */
} Part;

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool is_row_axis(const Plane *p, const char *axis)
{
    return axis != node_attr(p->attend, ATTR_over)->names.items[0] && type_find(p->attend->inputs[1]->type, axis) < 0;
}

/* The rows are q's row axes run together: the positions that one of them has in rows first .. last. */
static void row_positions(const Plane *p, const char *axis, int64_t first, int64_t last, int64_t *low, int64_t *high)
{
    const Type *q = p->attend->inputs[0]->type;
    int64_t inner = 1, size = 1;
    for (int i = q->rank - 1; i >= 0 && q->axis[i].name != axis; i--)
        if (is_row_axis(p, q->axis[i].name))
            inner *= extent_value(q->axis[i].size, p->model, p->sizes);
    size = extent_value(q->axis[type_find(q, axis)].size, p->model, p->sizes);
    bool whole = first / inner / size != last / inner / size; /* an outer axis moves on in between */
    *low = whole ? 0 : first / inner % size;
    *high = whole ? size - 1 : last / inner % size;
}

static TileClass class_of(Plane *p, Part part)
{
    int64_t row = part.row * p->tile_rows, last_row = at_most(row + part.rows * p->tile_rows, p->rows) - 1;
    int64_t key = part.key * KEY_PANEL, last_key = at_most(key + part.keys * KEY_PANEL, p->keys) - 1;
    for (size_t i = 0; i < p->test.n_leaves; i++) {
        const TileLeaf *leaf = &p->test.leaves[i];
        if (!leaf->low && !leaf->high)
            continue;
        if (leaf->side == SIDE_KEYS) {
            p->low[i] = key;
            p->high[i] = last_key;
        } else {
            row_positions(p, leaf->node->type->axis[0].name, row, last_row, &p->low[i], &p->high[i]);
        }
        const Attr *start = node_attr(leaf->node, ATTR_start);
        int64_t past = start ? extent_value(start->extent, p->model, p->sizes) : 0;
        p->low[i] += past;
        p->high[i] += past;
    }
    return tile_class(&p->test, p->low, p->high);
}

static void count_part(Plane *p, Part part)
{
    int64_t tiles = part.rows * part.keys;
    if (!tiles)
        return;
    TileClass class = class_of(p, part);
    if (class == TILE_EMPTY)
        return;
    if (class == TILE_FULL || tiles == 1) {
        p->count->executed += tiles;
        p->count->full += class == TILE_FULL ? tiles : 0;
        return;
    }
    Part first = part, second = part;
    if (part.rows * p->tile_rows > part.keys * KEY_PANEL && part.rows > 1) {
        first.rows = part.rows / 2;
        second.row += first.rows;
        second.rows -= first.rows;
    } else if (part.keys > 1) {
        first.keys = part.keys / 2;
        second.key += first.keys;
        second.keys -= first.keys;
    } else {
        first.rows = part.rows / 2;
        second.row += first.rows;
        second.rows -= first.rows;
    }
    count_part(p, first);
    count_part(p, second);
}

bool tile_count(Context *cx, const Node *attend, const int64_t *sizes, int rows, TileCount *out)
{
    *out = (TileCount){0};
    Plane p = {.attend = attend, .model = graph_model(attend->graph), .sizes = sizes, .tile_rows = rows, .count = out};
    Mask mask = mask_of(cx, attend);
    p.test = tile_test(cx, attend, &mask.conditions);
    p.low = arena_array(cx->arena, p.test.n_leaves, sizeof *p.low);
    p.high = arena_array(cx->arena, p.test.n_leaves, sizeof *p.high);
    const Type *q = attend->inputs[0]->type, *k = attend->inputs[1]->type;
    int64_t batch = 1;
    p.rows = 1;
    p.keys = extent_value(k->axis[type_find(k, attr_name(attend, ATTR_keys))].size, p.model, sizes);
    for (int i = 0; i < q->rank; i++) {
        int64_t size = extent_value(q->axis[i].size, p.model, sizes);
        if (is_row_axis(&p, q->axis[i].name))
            p.rows *= size;
        else if (type_find(k, q->axis[i].name) >= 0 && q->axis[i].name != node_attr(attend, ATTR_over)->names.items[0])
            batch *= size;
    }
    for (size_t i = 0; i < p.test.n_leaves; i++) {
        const TileLeaf *leaf = &p.test.leaves[i];
        if ((leaf->low || leaf->high) && (leaf->data || leaf->side == SIDE_TASK))
            return false;
    }
    Part all = {.rows = (p.rows + rows - 1) / rows, .keys = (p.keys + KEY_PANEL - 1) / KEY_PANEL};
    count_part(&p, all);
    out->total = all.rows * all.keys * batch;
    out->executed *= batch;
    out->full *= batch;
    return true;
}
