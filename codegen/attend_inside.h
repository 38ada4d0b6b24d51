/* Shared by the files of attend's emitter: attend.c (the function), attend_mask.c (which keys a row reads),
 * attend_class.c (which panels of keys a tile reads), attend_test.c (the question whether it does), attend_rows.c (a
 * tile's rows of q and of the result), attend_block.c (a tile against one block of keys), attend_row.c (softmax),
 * attend_pack.c (keys and values of a block), attend_next.c (those of the next task), attend_tile.c (products),
 * attend_lanes.c, attend_lanes_tile.c and attend_lanes_few.c (all of that where a tile's rows stand in the lanes), attend_piece.c
 * (functions and their parameters). */
#ifndef ATTAR_CODEGEN_ATTEND_INSIDE_H
#define ATTAR_CODEGEN_ATTEND_INSIDE_H

#include "codegen/emit.h"
#include "ir/tile_class.h"

/* ---- the mask, taken apart -------------------------------------------------------------------------------------- */

typedef struct AttendMask {
    const Node *score; /* the score where nothing is masked */
    /* Conditions that bound the keys of a row from below or above, or that do not look at the key at all: each row has
     * a range of keys. */
    Conditions bounds;
    /* What is left. With tests, a tile's panels of keys are chosen one by one; without, they are a range. */
    Conditions tests;
} AttendMask;

/* How the kernel knows one leaf of the tests' TileTest. */
typedef struct AttendLeaf {
    const char *low, *high; /* as the class function reads them */
    bool narrow;            /* an int: wider in arithmetic */
    const char *member;     /* of struct `rows` or `ends`, without _low and _high; NULL: not one */
} AttendLeaf;

/* ---- the kernel ------------------------------------------------------------------------------------------------- */

typedef struct AttendAxis {
    const char *name; /* in the model */
    const char *var;  /* in C */
    Extent size;
} AttendAxis;

/* Scores from one of two products: where(condition, one, the other) in the body, and nothing else of the two. */
typedef struct AttendSecond {
    const Node *choice; /* the `where`; NULL: there is one product */
    Condition first;    /* where it holds the score is the first product's */
    Access q, keys;     /* of the second product */
    bool key_rows;
    const char *scores_row, *pick, *blend;          /* C functions; the first may be the first product's own */
    const char *pick_rest, *blend_rest;             /* the ends of the calls' argument lists */
    bool knows;                                     /* `pick` knows something; else both are computed for every tile */
    bool pick_reads_t, pick_reads_rows;
} AttendSecond;

typedef struct Attend {
    Kernel *k;
    Access q, keys, v, out, lse;
    bool gives_out, gives_lse; /* which of the two results somebody reads */
    const char *key_axis, *head_axis, *value_axis;
    int64_t head, width; /* sizes of the head axis and of v's own axis */
    int64_t padded;      /* width rounded up to whole vectors */
    int n_batch, n_rows;
    AttendAxis batch[MAX_RANK], row[MAX_RANK]; /* both in q's order */
    const char *positions;                     /* number of keys, as C text */
    AttendMask mask;
    bool plain; /* the score is q . k and nothing else: log2(e) can be folded into q */
    bool marks; /* some masked keys are known by their weight alone, which is -0 */
    bool ranged; /* rows differ in the keys that they read */
    bool checks; /* some keys of a tile may be masked: their values must not be met, not even by a weight of 0 */
    bool key_rows; /* the keys lie in rows, not in panels */
    bool in_lanes; /* a tile's rows stand in the lanes, beside each key: attend_lanes.c */
    bool entry_loop; /* a loop over the batch's entries stands around the one over tasks */
    AttendSecond second;
    int lanes;
    int rows, few;      /* rows in a tile; so many rows at most are done without one: all that there are or, in the lanes, beyond whole vectors */
    int vectors;        /* of keys or values in a product, beside as many rows as find registers for the sums */
    int most_rows;      /* of a task, a multiple of a tile's */
    int block;          /* keys between two rescalings: what is packed of them stays in the second-level cache */
    int score_step;     /* floats between rows of scores: not a power of two, so that rows do not share cache sets */
    int64_t in_place;   /* with rows in the lanes: of more keys a task copies a block's, if it has tiles enough */
    int keys_at_once;   /* with rows in the lanes: keys in a product of scores */
    int64_t group;      /* columns of packed values that lie together */
    const char *scores, *scores_some, *scores_row, *values, *values_row, *values_rest, *values_row_rest; /* C functions */
    const char *values_careful, *softmax, *turn, *pack_keys, *pack_values, *read_rows, *few_rows, *tile, *log_sums;
    const char *weigh, *read_tile, *finite; /* with rows in the lanes */
    const char *range_struct;               /* what a vector of rows reads, if rows differ */
    const char *read_tile_call, *few_call;
    bool asks_next;            /* a task asks for the keys and values of the next one */
    bool asks_rows;            /* and for the next tile's rows of q */
    bool asks_result;          /* and of the result, if these lie elsewhere */
    const char *ask_next, *ask_next_rest;
    const char *ask;           /* asks for rows of the next tile: */
    int n_ahead;               /* tiles of rows, of q's and of the result's */
    int64_t ahead_floats;      /* of a row */
    const char *softmax_rest;  /* the end of the calls' argument lists */
    bool softmax_reads_first;
    const char *read_rows_call, *tile_call, *log_sums_call; /* whole statements of the kernel */
    /* With tests only: */
    TileTest test;
    AttendLeaf *leaves;
    bool row_leaves, key_leaves;          /* there is a struct `rows`, a struct `ends` */
    bool skips;                           /* some panels may be known to be empty */
    bool class_reads_t;                   /* the class function takes the keys' positions */
    const char *rows_struct, *ends_struct; /* C names */
    const char *find_ends, *class;         /* C functions */
    const char *find_ends_rest, *class_rest; /* the ends of their calls' argument lists */
} Attend;

enum {
    LANE_VECTORS = 3,       /* of rows in a tile, where they stand in the lanes */
    ATTEND_ROW_VECTORS = 8, /* accumulators of the functions for one row */
    ATTEND_FEW = 3,         /* rows that go together where they fill no vector */
    ATTEND_TASK = 1024,     /* rows of a task at most: a block's keys and values are packed once for all of them */
    ATTEND_LEAST = 24       /* and at least, where they are few enough for a task each: packing costs as much as 5 rows */
};

/* ---- attend_mask.c ---------------------------------------------------------------------------------------------- */

void attend_split_mask(Attend *a);
/* "begin = larger(begin, ..);", "end = lesser(end, ..);" for each of the bounds; the row's indices are variables. */
void attend_emit_bounds(Attend *a, BodyPrinter *b);
/* For numbers of one row: positions are variables, without a cast to int. */
BodyPrinter attend_row_printer(Attend *a);
/* Extra inputs, iotas and the score itself as operands, where `t` is the first key of a vector. */
BodyPrinter attend_printer(Attend *a);
/* Where an extra input's element lies; `t`: the key's position, NULL: it has no keys. */
const char *attend_address(Attend *a, const Access *x, const char *t);
/* "a & ~b" of the tests as one mask of lanes. */
const char *attend_condition(Attend *a, BodyPrinter *b);

/* ---- attend_class.c --------------------------------------------------------------------------------------------- */

void attend_prepare_class(Attend *a); /* the test of a tile and the names of what it reads */
bool attend_has_class(const Attend *a); /* is there anything to ask of tiles? */
void attend_emit_class(Attend *a);    /* before the kernel: the structs and the functions that fill and ask them */
/* In the kernel. `from`: where in scratch the ends of keys may lie. */
void attend_emit_ends_memory(Attend *a, const char *from);
void attend_emit_ends_before(Attend *a); /* before the tasks */
void attend_emit_ends(Attend *a);        /* in a task, if its batch entry is another one */
void attend_emit_rows_begin(Attend *a);  /* before the loop over a tile's rows */
void attend_emit_row_ends(Attend *a, BodyPrinter *b); /* in it */
void attend_emit_choice(Attend *a);      /* in the tile's function: its panels in the block, `place`, `taken`, `cut` */

/* ---- attend_test.c ----------------------------------------------------------------------------------------------- */

/* The body of a function that asks the test; leaf number i is called leaves[i]. */
void attend_put_test(Attend *a, const TileTest *test, const AttendLeaf *leaves);

/* ---- attend_block.c --------------------------------------------------------------------------------------------- */

void attend_emit_tile(Attend *a); /* before the kernel: a tile against one block of keys, a few rows one by one */
void attend_emit_blocks(Attend *a); /* the loop over the blocks of keys */
/* Calls `emit` for all columns of the values, in a loop if there are several groups. */
typedef void EmitGroup(Attend *a, const char *function, const char *plus, long long columns);
void attend_emit_groups(Attend *a, bool one_row, EmitGroup *emit);
void attend_emit_count(Attend *a, const char *executed, const char *whole); /* for tests: tiles, and those without a comparison */

/* ---- attend_lanes.c ------------------------------------------------------------------------------------------------ */

bool attend_fits_lanes(const Attend *a);       /* after the mask is taken apart: may a tile's rows stand in the lanes? */
int64_t attend_keys_in_place(const Attend *a); /* how many keys tiles may read where they lie, again and again */
void attend_emit_lanes(Attend *a);             /* before the kernel: a tile against one block of keys, and the rows that fill no vector */
void attend_put_lane_rows(Attend *a);          /* in a task: how many of its rows go through tiles */
void attend_put_copies(Attend *a);             /* in a task: does it copy keys and values? */
void attend_put_lane_range(Attend *a);         /* in a tile: the keys that it reads */
void attend_put_lane_block(Attend *a);         /* in a block: where its keys and values are read */
void attend_put_lane_tile(Attend *a);          /* in a block: one tile */

/* ---- attend_lanes_tile.c, attend_lanes_few.c ----------------------------------------------------------------------- */

void attend_emit_lane_tiles(Attend *a); /* the products of a tile */
/* "value[c]": the vectors of key t, the last one in part if there are only `part` lanes. */
void attend_put_value(Text *t, int depth, int whole, int part);
/* The sums times scale to `results`. `end`: how many of the rows there are, " && row < rows" or nothing. */
void attend_put_lane_results(Text *t, int rows, const char *end, int vectors, int part);
void attend_put_few(Text *t, int depth); /* "for (int row = 0; row < rows; row++)", at most ATTEND_FEW of them */
void attend_emit_few_rows(Attend *a);    /* the function for rows that fill no vector */

/* ---- attend_rows.c ---------------------------------------------------------------------------------------------- */

/* Before the kernel: the tile's rows of q into scratch, log(sum(exp(s))). */
void attend_emit_read_rows(Attend *a);
void attend_emit_log_sums(Attend *a);
void attend_emit_ranges(Attend *a); /* in a task: which keys its rows read */

/* ---- attend_second.c -------------------------------------------------------------------------------------------- */

bool attend_read_second(Attend *a); /* after the mask is taken apart; true if there is no second product */
void attend_emit_second(Attend *a); /* before the kernel: the functions that pick and blend */
void attend_emit_second_rows(Attend *a); /* in a task: the outermost row axis of its tile */
/* One tile of rows against the panel of keys from t on, of which `keys` are read: the scores at `to`. */
void attend_emit_second_tile(Attend *a, const char *t, const char *keys, const char *to);
/* One row against `n` keys from t on, `place` where its panels are chosen (NULL: they are neighbours). */
void attend_emit_second_row(Attend *a, const char *t, const char *n, const char *place, const char *to);

/* ---- attend_pack.c ---------------------------------------------------------------------------------------------- */

void attend_emit_pack(Attend *a); /* the functions, before the kernel */
/* `turn`: LANES rows by LANES numbers turned about, rows of the result `apart`, each number `times` (" * 0.125f", or nothing). */
void attend_emit_turn(Attend *a, int apart, const char *times);
/* The calls for the panel of keys from t on, into the places of the block from t0 on. */
void attend_emit_pack_panel(Attend *a, const char *t);
/* "#pragma GCC unroll ..", "for (int var = 0; var < count; var += step)"; `end`: " {" or nothing. */
void attend_put_unrolled(Text *t, int depth, const char *var, int count, int step, const char *end);
/* Where the panel of keys from t on lies, packed in the task or in memory. */
const char *attend_panel(Attend *a, bool second, const char *t);

/* ---- attend_lookup.c -------------------------------------------------------------------------------------------- */

Operand attend_value(Attend *a, BodyPrinter *b, const Node *n); /* body_value, with tables looked up on the way */

/* ---- attend_row.c ----------------------------------------------------------------------------------------------- */

void attend_emit_softmax(Attend *a); /* the function, before the kernel; sets softmax_rest */

/* ---- attend_piece.c --------------------------------------------------------------------------------------------- */

/* Text in the arena. */
const char *attend_print(const Attend *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts a function before the kernel that takes its own parameters and those of the kernel's parameters and indices that
 * `body` mentions; returns the end of a call's argument list (", keep, b"). */
const char *attend_function(Attend *a, const char *comment, const char *head, const char *const *own, size_t n_own,
                            const char *body);
/* The same for a function that finds the indices of its rows itself. */
const char *attend_rows_function(Attend *a, const char *comment, const char *head, const char *const *own, size_t n_own,
                                 const char *body);
/* The same, and its own parameters are those of the caller's locals that `body` mentions; returns the call. */
const char *attend_piece(Attend *a, const char *function, const char *comment, const char *const *locals, size_t count,
                         const char *body);

/* ---- attend.c --------------------------------------------------------------------------------------------------- */

bool attend_mentions_row(const Attend *a, const char *text);
/* Those indices of the row's axes that `text` mentions; `row` counts in the tile. */
void attend_row_indices(Attend *a, const char *text);
/* The indices axes[from .. to) of position `at`, those that `text` mentions (NULL: all); the last one goes round first. */
void attend_put_indices(Attend *a, const AttendAxis *axes, int from, int to, const char *at, const char *text);
/* "for each tile of the task {", of so many rows, with the names of a tile's own that `text`, the loop's body, mentions. */
void attend_open_tiles(Attend *a, const char *text, int rows);
/* The address of an access: the batch's indices and those of a row are variables. */
const char *attend_row_address(Attend *a, const Access *x);
/* What is printed from here on is kept apart, until body_end gives it and `main` is what is printed again. */
Text body_begin(Kernel *k);
const char *body_end(Kernel *k, Text main);
/* One level deeper: what stands under an `if` or `for` without braces. */
void put_inner(Kernel *k, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- attend_keys.c ---------------------------------------------------------------------------------------------- */

void attend_emit_key_rows(Attend *a); /* scores_row for keys in rows */

/* ---- attend_next.c ---------------------------------------------------------------------------------------------- */

void attend_emit_ask_next(Attend *a); /* the function, before the kernel */
/* In the kernel: is it worth asking? `positions`: how many keys all batch entries have together, as C text. */
void attend_put_far(Attend *a, const char *positions);
/* In a task: where the keys and values of this thread's next one lie; after the last entry's last task, the entry's own
 * first. The loop over entries goes through the batch axes before `outer`. */
void attend_put_next(Attend *a, int outer);
void attend_put_ask_next(Attend *a); /* in a tile: its share is asked for */
/* The same with rows in the lanes: before a tile, where the next tile's rows lie; in it, the share of some of its rows. */
void attend_put_ahead(Attend *a);
void attend_put_ask_share(Attend *a, int rows, const char *when);

/* ---- attend_tile.c ---------------------------------------------------------------------------------------------- */

void attend_emit_tiles(Attend *a); /* the functions, into k->before */
bool attend_scores_wide(const Attend *a); /* does `scores` take the last one and a half panels at once, and say so? */
void attend_put_steps(const Attend *a, Text *t, int depth, const char *loop); /* a loop over the steps of a sum, some at a time */
int attend_row_panels(const Attend *a); /* panels of keys that a row's scores are made of at a time */
bool attend_may_be_open(const Attend *a); /* may all rows of a tile read all of its keys, though `checks`? */
/* Vectors in a column group of `values` or `values_row`, and where the narrower last group begins (width: none). */
int attend_group(const Attend *a, bool one_row);
int64_t attend_rest(const Attend *a, bool one_row);
int attend_values_rows(const Attend *a, int64_t columns); /* of a tile, in one call of `values` for so many columns */
const char *attend_value_group(Attend *a, const char *plus); /* " + w": where those columns begin in packed values */

#endif
