/* Products of matrices in scratch, for kernels that are made of such products: one set of functions a file.
 *
 *     matrix_product(rows, columns, depth, a, a_step, b, b_step, b_panel, c, c_step, start, start_step, soon)
 *
 *         c[rows][columns] = start[rows][columns] + a[rows][depth] * b[depth][columns]; no start: 0. It may be c itself
 *         (so the product is added to c), or one row for all (a step of 0). Meanwhile the rows `soon` names, or null,
 *         are brought nearer, a few at a time: all at once would stop the products.
 *
 *     matrix_transpose(rows, columns, from, from_step, to, to_step, factor)
 *
 *         to[columns][rows] = from[rows][columns] * factor
 *
 * A step is the number of floats from one row to the next. Columns are neighbours in b and c, taken in panels of
 * MATRIX_PANEL; from one panel to the next b moves on by b_panel floats: MATRIX_PANEL if b lies row by row, or what a
 * packed panel has. Whole vectors are read from b and start and written to c, so their rows go on for up to LANES - 1 more
 * floats, of which those in c hold anything afterwards. All of them start anywhere.
 *
 * An element is one sum along the depth in ascending order, whatever tile it falls into: a product cut along any axis
 * gives the same bits. Blocks of b (64 deep, 64 wide) stay in the first-level cache while all rows pass by them. */
#include "codegen/emit.h"

enum { BLOCK = 64, STEPS = 2 /* of a sum at a time: four are 2 % slower */ };

/* Sums of a tile: rows x vectors registers, beside them an element of a for each row and one vector of b, which takes
 * fewer instructions than the other way round as long as there are no more rows than vectors. */
static Tile tile_of(const Target *t)
{
    return t->registers >= 32 ? (Tile){6, 4} : (Tile){3, 4};
}

int matrix_panel(const Target *t)
{
    return tile_of(t).vectors * t->lanes;
}

int matrix_rows(const Target *t)
{
    return tile_of(t).rows;
}

const char *matrix_use(Emitter *e)
{
    e->matrix = true;
    return "matrix_product";
}

/* The start of a function of this file: its attributes, its name, sizes of its own, and what all of them take. */
static void put_head(Text *out, const char *attributes, const char *name, const char *first, const char *second,
                     bool panels, bool soon)
{
    const char *items[14] = {first,
                             second,
                             "ptrdiff_t depth",
                             "const float *restrict a",
                             "ptrdiff_t a_step",
                             "const float *restrict b",
                             "ptrdiff_t b_step"};
    size_t n = 7;
    if (panels)
        items[n++] = "ptrdiff_t b_panel";
    items[n++] = "float *c";
    items[n++] = "ptrdiff_t c_step";
    items[n++] = "const float *start";
    items[n++] = "ptrdiff_t start_step";
    if (soon)
        items[n++] = "struct matrix_soon *soon";
    Context cx = {.arena = out->arena};
    text_add(out, "%s\n%s\n{\n", attributes, wrapped(&cx, arena_print(out->arena, "void %s", name), items, n));
}

static const char inlined[] = "static inline __attribute__((always_inline))",
                  once[] = "static __attribute__((noinline))";

static void put_loop(Text *out, int indent, char index, int count)
{
    text_add(out, "#pragma GCC unroll %d\n%*sfor (ptrdiff_t %c = 0; %c < %s; %c++)\n", count, indent, "", index, index,
             index == 'r' ? "rows" : "vectors", index);
}

static void put_each(Text *out, int indent, Tile tile, const char *statement)
{
    bool rows_inside = tile.rows < tile.vectors;
    put_loop(out, indent, rows_inside ? 'v' : 'r', rows_inside ? tile.vectors : tile.rows);
    put_loop(out, indent + 4, rows_inside ? 'r' : 'v', rows_inside ? tile.rows : tile.vectors);
    text_add(out, "%*s%s\n", indent + 8, "", statement);
}

static void put_tile(Text *out, Tile tile, int steps)
{
    text_add(
        out,
        "/* c[rows][vectors * LANES] = start + a[rows][depth] * b[depth][vectors * LANES], the sums in registers. */\n");
    put_head(out, inlined, "matrix_tile", "int rows", "int vectors", false, false);
    text_add(out, "    lanes sum[%d][%d];\n", tile.rows, tile.vectors);
    put_each(out, 4, tile, "sum[r][v] = start ? *(const lanes_at *)(start + r * start_step + v * LANES) : (lanes){0};");
    if (steps > 1)
        text_add(out, "#pragma GCC unroll %d\n", steps);
    text_add(out, "    %sfor (ptrdiff_t i = 0; i < depth; i++) {\n", steps > 1 ? "" : "ROLLED ");
    text_add(out, "        const lanes_at *row = (const lanes_at *)(b + i * b_step);\n");
    put_each(out, 8, tile, "sum[r][v] += splat(a[r * a_step + i]) * row[v];");
    text_add(out, "    }\n");
    put_each(out, 4, tile, "*(lanes_at *)(c + r * c_step + v * LANES) = sum[r][v];");
    text_add(out, "}\n\n");
}

/* "columns > 2 * LANES": so many need this many vectors. */
static const char *need_vectors(Text *out, int vectors)
{
    return vectors == 1   ? "columns > 0"
           : vectors == 2 ? "columns > LANES"
                          : arena_print(out->arena, "columns > %d * LANES", vectors - 1);
}

static void put_rows(Text *out, Tile tile)
{
    static const char call[] =
        "matrix_tile(rows, %d, depth, a, a_step, b, b_step, c, c_step, start, start_step);\n";
    text_add(out, "/* A few rows against all columns, panel by panel. */\n");
    put_head(out, inlined, "matrix_rows", "int rows", "ptrdiff_t columns", true, false);
    text_add(out, "    for (; %s; columns -= MATRIX_PANEL, b += b_panel, c += MATRIX_PANEL) {\n        ",
             need_vectors(out, tile.vectors));
    text_add(out, call, tile.vectors);
    text_add(out, "        start = start ? start + MATRIX_PANEL : start;\n    }\n");
    for (int v = tile.vectors - 1; v > 0; v--) {
        text_add(out, "    %sif (%s)\n        ", v < tile.vectors - 1 ? "else " : "", need_vectors(out, v));
        text_add(out, call, v);
    }
    text_add(out, "}\n\n");
}

static void put_call(Text *out, int indent, int rows)
{
    text_add(out,
             "%*smatrix_rows(%d, wide, deep, a_row, a_step, b_block, b_step, b_panel, c_row, c_step, sums, sums_step);\n",
             indent, "", rows);
}

/* To the rows behind. */
static void put_next(Text *out, int indent, int rows)
{
    text_add(out, "%*sa_row += %d * a_step;\n%*sc_row += %d * c_step;\n%*ssums = sums ? sums + %d * sums_step : sums;\n",
             indent, "", rows, indent, "", rows, indent, "", rows);
}

static void put_soon(Text *out)
{
    text_add(out,
             "/* Rows of a matrix that are read or written soon: with rows far apart the processor does not foresee it. */\n"
             "struct matrix_soon {\n    const float *row;\n    ptrdiff_t step, columns, left;\n};\n\n"
             "static inline void matrix_ask(struct matrix_soon *soon)\n{\n"
             "    if (!soon || soon->left <= 0)\n        return;\n"
             "    for (ptrdiff_t c = 0; c < soon->columns; c += 16) /* a cache line */\n"
             "        __builtin_prefetch(soon->row + c);\n"
             "    soon->row += soon->step;\n    soon->left--;\n}\n\n");
}

static void put_product(Text *out, Tile tile)
{
    text_add(out, "/* c[rows][columns] = start + a[rows][depth] * b[depth][columns]; no start: 0. b is read in panels of\n"
                  " * columns that lie b_panel floats apart; whole vectors are written to c. */\n");
    put_head(out, once, "matrix_product", "ptrdiff_t rows", "ptrdiff_t columns", true, true);
    text_add(out, "    ptrdiff_t from = 0;\n    do {\n        const ptrdiff_t deep = lesser(depth - from, %d);\n",
             BLOCK);
    text_add(out, "        for (ptrdiff_t first = 0; first < columns; first += %d) {\n", BLOCK);
    text_add(out, "            const ptrdiff_t wide = lesser(columns - first, %d);\n", BLOCK);
    text_add(
        out,
        "            const float *a_row = a + from, *b_block = b + from * b_step + first / MATRIX_PANEL * b_panel;\n");
    text_add(out, "            const float *sums = start ? start + first : start;\n"
                  "            const ptrdiff_t sums_step = start_step;\n"
                  "            float *c_row = c + first;\n            ptrdiff_t left = rows;\n");
    text_add(out, "            for (; left >= %d; left -= %d) {\n                matrix_ask(soon);\n", tile.rows, tile.rows);
    put_call(out, 16, tile.rows);
    put_next(out, 16, tile.rows);
    text_add(out, "            }\n");
    for (int rows = tile.rows > 4 ? 4 : 2; rows > 0; rows /= 2) {
        text_add(out, "            if (left & %d)%s\n", rows, rows > 1 ? " {" : "");
        put_call(out, 16, rows);
        if (rows > 1) {
            put_next(out, 16, rows);
            text_add(out, "            }\n");
        }
    }
    text_add(out, "        }\n        start = c; /* what lies deeper is added */\n        start_step = c_step;\n"
                  "        from += %d;\n    } while (from < depth);\n}\n\n", BLOCK);
}

/* "0, 8, 1, 9, ..": lanes from `first` on of two vectors in turns. */
static const char *in_turns(Arena *arena, int lanes, int first)
{
    Text text = text_new(arena);
    for (int i = first; i < first + lanes / 2; i++)
        text_add(&text, "%s%d, %d", i > first ? ", " : "", i, lanes + i);
    return text.data;
}

/* A square of LANES rows in registers. Vectors r and r + LANES / 2 in turns, log2(LANES) times, are its columns. */
static void put_turn(Text *out, int lanes)
{
    int rounds = 0;
    while (1 << rounds < lanes)
        rounds++;
    text_add(out, "/* to[LANES][LANES] = from[LANES][LANES] turned, times factor. */\n%s\n", inlined);
    text_add(out, "void matrix_turn(const float *restrict from, ptrdiff_t from_step, float *restrict to, "
                  "ptrdiff_t to_step,\n                 float factor)\n{\n    lanes x[LANES], y[LANES];\n");
    text_add(out, "#pragma GCC unroll %d\n    for (ptrdiff_t r = 0; r < LANES; r++)\n", lanes);
    text_add(out, "        x[r] = *(const lanes_at *)(from + r * from_step) * factor;\n");
    text_add(out, "#pragma GCC unroll %d\n    for (ptrdiff_t round = 0; round < %d; round++) {\n", rounds, rounds);
    text_add(out, "#pragma GCC unroll %d\n        for (ptrdiff_t r = 0; r < LANES / 2; r++) {\n", lanes / 2);
    for (int half = 0; half < 2; half++)
        text_add(out, "            y[2 * r%s] = __builtin_shufflevector(x[r], x[r + LANES / 2],%s%s);\n",
                 half ? " + 1" : "", lanes > 8 ? "\n                " : " ",
                 in_turns(out->arena, lanes, half * lanes / 2));
    text_add(out, "        }\n#pragma GCC unroll %d\n        for (ptrdiff_t r = 0; r < LANES; r++)\n", lanes);
    text_add(out, "            x[r] = y[r];\n    }\n#pragma GCC unroll %d\n", lanes);
    text_add(out, "    for (ptrdiff_t r = 0; r < LANES; r++)\n        *(lanes_at *)(to + r * to_step) = x[r];\n}\n\n");
}

/* Without vectors a square is one number. */
static void put_turn_one(Text *out)
{
    text_add(out, "static inline void matrix_turn(const float *from, ptrdiff_t from_step, float *to, ptrdiff_t to_step, "
                  "float factor)\n{\n    (void)from_step, (void)to_step;\n    *to = *from * factor;\n}\n\n");
}

static void put_transpose(Text *out)
{
    text_add(out, "/* to[columns][rows] = from[rows][columns] * factor. */\n%s\n", once);
    text_add(out,
             "void matrix_transpose(ptrdiff_t rows, ptrdiff_t columns, const float *restrict from, ptrdiff_t "
             "from_step,\n                      float *restrict to, ptrdiff_t to_step, float factor)\n{\n"
             "    const ptrdiff_t whole = columns / LANES * LANES;\n    ptrdiff_t r = 0;\n"
             "    for (; r + LANES <= rows; r += LANES)\n"
             "        for (ptrdiff_t c = 0; c < whole; c += LANES)\n"
             "            matrix_turn(from + r * from_step + c, from_step, to + c * to_step + r, to_step, factor);\n"
             "    for (ptrdiff_t i = 0; i < rows; i++)\n"
             "        for (ptrdiff_t c = i < r ? whole : 0; c < columns; c++)\n"
             "            to[c * to_step + i] = from[i * from_step + c] * factor;\n}\n\n");
}

void emit_matrix(Emitter *e, const char *rest, Text *out)
{
    bool transpose = mentions(rest, "matrix_transpose");
    if (!e->matrix || (!transpose && !mentions(rest, "matrix_product") && !mentions(rest, "MATRIX_PANEL")))
        return;
    Tile tile = tile_of(e->target);
    text_add(out, "enum { MATRIX_PANEL = %d * LANES };\n\n", tile.vectors);
    put_soon(out);
    put_tile(out, tile, e->target->steps < STEPS ? e->target->steps : STEPS);
    put_rows(out, tile);
    put_product(out, tile);
    if (transpose) {
        e->target->lanes > 1 ? put_turn(out, e->target->lanes) : put_turn_one(out);
        put_transpose(out);
    }
}
