/* What a tile of a gemm costs, and which one is taken.
 *
 * A tile of R rows and V vectors needs R * V sums, V vectors of weights and one number of x in registers. A step along
 * the contracted axis loads V vectors and R numbers for R * V products. Products, loads, instructions, the latency of a sum
 * and bytes from L2 all pass at the same time, so the slowest of them is what a step takes; they hide behind it the worse
 * the closer they come to it, which the norm in `together` says in one number: two that are equal cost 9 % more than one,
 * one at two thirds of the other 0.5 %. */
#include "codegen/choose.h"

#include <math.h>

enum { PAIR = 2, USUAL = 3, MOST_VECTORS = 4, NORM = 8, USUAL_ROWS = 128, LOOP_INSTRUCTIONS = 2, WIDENING = 2 };
#define SAME 1.005 /* costs this close are the same */
#define ALIKE 1.01 /* what one kind of tile less may cost */
#define WORTH 1.05 /* what columns of several products in one panel must gain: they are taken apart again */

static double together(const double *parts, int n)
{
    double sum = 0, most = 0;
    for (int i = 0; i < n; i++)
        most = parts[i] > most ? parts[i] : most;
    for (int i = 0; i < n && most > 0; i++)
        sum += pow(parts[i] / most, NORM);
    return most > 0 ? most * pow(sum, 1.0 / NORM) : 0;
}

/* ---- the alternatives -------------------------------------------------------------------------------------------- */

static int lesser_of(int a, int b)
{
    return a < b ? a : b;
}

static int most_rows(const Target *t, int accumulators, int vectors)
{
    int beside = (t->registers - 1) / (accumulators * vectors) - 1;
    return lesser_of(lesser_of(beside, t->sums / (accumulators * vectors)), 14);
}

int tile_alternatives(const Target *t, int accumulators, Tile out[MAX_TILES])
{
    static const int vectors[] = {USUAL, 4, PAIR, 1}; /* 8x48, 6x64, 12x32, 14x16 with 16 lanes and 32 registers */
    int n = 0;
    for (int i = 0; i < 4; i++) {
        int rows = most_rows(t, accumulators, vectors[i]);
        if (rows >= 1)
            out[n++] = (Tile){rows, vectors[i]};
        if (rows > 8) /* fewer rows to an odd end, and shorter code */
            out[n++] = (Tile){8, vectors[i]};
    }
    if (!n)
        out[n++] = (Tile){1, 1}; /* more weights than registers: their sums go through the stack */
    return n;
}

/* ---- costs ------------------------------------------------------------------------------------------------------- */

/* How much of what is gone through again and again does not stay: all of it once it is twice the cache. */
static double part_outside(double bytes, double cache)
{
    return bytes <= cache ? 0 : bytes >= 2 * cache ? 1 : bytes / cache - 1;
}

/* Cycles of one step of a tile that many rows high, data in L1. */
static double step_cycles(const Target *t, const Speed *speed, const GemmShape *s, Tile tile)
{
    int weights = tile.vectors * s->accumulators, products = tile.rows * weights, loads = tile.rows + weights;
    double others = loads + (s->weight_bytes < 4 ? WIDENING * weights : 0) + (double)LOOP_INSTRUCTIONS / t->steps;
    double parts[] = {products / speed->products, loads / speed->loads,
                      (products * speed->instructions + others) / speed->issued, speed->latency};
    return together(parts, 4);
}

TileCost tile_cost(const Target *t, const GemmShape *s, Tile tile)
{
    const Speed *speed = target_speed(t);
    int64_t panel = (int64_t)tile.vectors * t->lanes, panels = (s->columns + panel - 1) / panel;
    int64_t rows = s->rows > 0 ? s->rows : USUAL_ROWS, tiles = (rows + tile.rows - 1) / tile.rows;
    double depth = (double)s->depth, panel_bytes = depth * (double)(panel * s->accumulators * s->weight_bytes);
    /* rows are dealt out evenly: some tiles have one more than the others */
    int64_t low = rows / tiles, more = rows % tiles;
    double steps = (double)(tiles - more) * step_cycles(t, speed, s, (Tile){(int)low, tile.vectors});
    if (more)
        steps += (double)more * step_cycles(t, speed, s, (Tile){(int)low + 1, tile.vectors});
    double compute = depth * (double)panels * steps;
    /* a panel comes from memory once, then from L1 or L2 for each tile; x for each panel */
    double x_bytes = 4 * depth * (double)rows, tile_bytes = 4 * depth * tile.rows;
    double from_l2 = (double)panels * ((double)tiles * panel_bytes * part_outside(panel_bytes + tile_bytes, (double)speed->l1) +
                                       x_bytes * part_outside(x_bytes + panel_bytes, (double)speed->l1));
    double from_memory = (double)panels * panel_bytes * (1 + (double)(tiles - 1) * part_outside(panel_bytes, (double)speed->l2 / 2));
    double parts[] = {compute, from_l2 / speed->l2_bytes, from_memory / speed->memory_bytes};
    double useful = (double)rows * depth * (double)s->columns * s->accumulators / (t->lanes * speed->products);
    double cycles = together(parts, 3);
    return (TileCost){cycles, from_l2 + from_memory, useful / cycles};
}

Tile tile_expected(const Target *t, const GemmShape *s, TileCost *cost)
{
    Tile all[MAX_TILES], best = {0};
    int n = tile_alternatives(t, s->accumulators, all);
    for (int i = 0; i < n; i++) {
        TileCost c = tile_cost(t, s, all[i]);
        if (i && c.cycles * SAME >= cost->cycles)
            continue;
        *cost = c;
        best = all[i];
    }
    return best;
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

static bool same_product(const GemmShape *a, const GemmShape *b)
{
    return a->accumulators == b->accumulators && a->depth == b->depth && a->columns == b->columns &&
           a->weight_bytes == b->weight_bytes;
}

/* Never a tile that the registers do not hold, whatever a table says. */
static bool is_alternative(const Target *t, const GemmShape *s, Tile tile)
{
    Tile all[MAX_TILES];
    int n = tile_alternatives(t, s->accumulators, all);
    for (int i = 0; i < n; i++)
        if (all[i].rows == tile.rows && all[i].vectors == tile.vectors)
            return true;
    return false;
}

TileChoice tile_choose(const EmitOptions *options, const GemmShape *s)
{
    TileCost cost;
    Tile all[MAX_TILES];
    TileChoice c = {.shape = *s, .how = TILE_EXPECTED};
    c.tile = c.expected = tile_expected(options->target, s, &cost);
    int n = tile_alternatives(options->target, s->accumulators, all);
    if (options->alternative) {
        if (options->alternative <= n) {
            c.tile = all[options->alternative - 1];
            c.how = TILE_ASKED;
        }
    } else {
        for (int i = 0; options->tuned && i < options->tuned->n; i++) {
            const TunedTile *row = &options->tuned->items[i];
            if (!same_product(&row->shape, s) || !is_alternative(options->target, s, row->tile))
                continue;
            c.tile = row->tile;
            c.how = TILE_MEASURED;
            c.ratio = row->ratio;
            c.measured_rows = row->shape.rows;
        }
    }
    c.share = tile_cost(options->target, s, c.tile).share;
    return c;
}

TileChoice tile_rotated(const Target *t, const GemmShape *s)
{
    Tile tile = {most_rows(t, 1, PAIR), PAIR};
    return (TileChoice){.shape = *s, .how = TILE_ROTATED, .tile = tile, .expected = tile, .share = tile_cost(t, s, tile).share};
}

TileChoice tile_alike(const Target *t, const TileChoice *expected)
{
    const GemmShape *s = &expected->shape;
    TileChoice c = *expected;
    const Tile tile = {most_rows(t, s->accumulators, PAIR), PAIR};
    if (c.how != TILE_EXPECTED || c.tile.vectors == PAIR || c.tile.vectors == USUAL || tile.rows < 1)
        return c;
    const TileCost cost = tile_cost(t, s, tile);
    if (cost.cycles > tile_cost(t, s, c.tile).cycles * ALIKE)
        return c;
    c.how = TILE_ALIKE;
    c.tile = tile;
    c.share = cost.share;
    return c;
}

static Tile wide_as(const Target *t, int64_t columns)
{
    int vectors = (int)((columns + t->lanes - 1) / t->lanes);
    return (Tile){most_rows(t, 1, vectors), vectors};
}

TileChoice tile_beside(const Target *t, const GemmShape *s)
{
    Tile tile = wide_as(t, s->columns);
    return (TileChoice){.shape = *s, .how = TILE_BESIDE, .tile = tile, .expected = tile, .share = tile_cost(t, s, tile).share};
}

bool tile_gains_beside(const Target *t, const GemmShape *so_far, const GemmShape *next)
{
    GemmShape all = *so_far;
    TileCost apart[2];
    all.columns += next->columns;
    if (all.columns > MOST_VECTORS * t->lanes || wide_as(t, all.columns).rows < 1)
        return false;
    tile_expected(t, so_far, &apart[0]);
    tile_expected(t, next, &apart[1]);
    return tile_cost(t, &all, wide_as(t, all.columns)).cycles * WORTH < apart[0].cycles + apart[1].cycles;
}

void tile_describe(const TileChoice *c, int lanes, Text *out)
{
    text_add(out, "%dx%d", c->tile.rows, c->tile.vectors * lanes);
    if (c->how == TILE_ROTATED)
        text_add(out, ", pairs to be rotated, expected at %.2f of the peak", c->share);
    else if (c->how == TILE_BESIDE)
        text_add(out, ", %lld columns of several products side by side, expected at %.2f of the peak", (long long)c->shape.columns, c->share);
    else if (c->how == TILE_ALIKE)
        text_add(out, ", like rotated products, expected at %.2f of the peak", c->share);
    else if (c->how == TILE_ASKED)
        text_add(out, ", as asked");
    else if (c->how == TILE_EXPECTED)
        text_add(out, ", expected at %.2f of the peak", c->share);
    else if (c->tile.rows == c->expected.rows && c->tile.vectors == c->expected.vectors)
        text_add(out, ", measured: none is faster with %lld rows", (long long)c->measured_rows);
    else
        text_add(out, ", measured: %.2f of the time of %dx%d with %lld rows", c->ratio, c->expected.rows,
                 c->expected.vectors * lanes, (long long)c->measured_rows);
}
