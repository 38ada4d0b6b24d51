/* How the threads of a run share its kernels: text of the emitted file, and about how much work a kernel is.
 *
 * The work of each kernel falls into parts, as many for each thread. A thread takes those of its own first, one after the other, then
 * those of other threads that nobody has begun. So nobody waits for a thread that is late, or that does not come at all, but for a part
 * that it has begun; and since every part computes the same whoever takes it, the bits do not change. One thread has one part and
 * touches no counter. Whoever waits spins for a while and then sleeps on a futex, if the system has one. */
#include "codegen/emit.h"
#include "codegen/entry.h"
#include "codegen/live.h"

/* ---- work ----------------------------------------------------------------------------------------------------------------------------- */

enum { PER_ELEMENT = 8, PER_FEATURE = 64 };             /* multiply-adds that take as long as an element of a map, of linear attention */

typedef struct Work { int64_t factor; Text symbolic; } Work;

static void times(Emitter *e, Work *w, Extent size) {
    if (!extent_is_const(size))
        text_add(&w->symbolic, "%s%s", w->symbolic.length ? " * " : "", extent_factor_text(e->cx, size));
    else if (__builtin_mul_overflow(w->factor, size.base ? size.base : 1, &w->factor))
        w->factor = INT64_MAX / 2;
}

static void times_type(Emitter *e, Work *w, const Type *t) {
    for (int i = 0; i < t->rank; i++)
        times(e, w, t->axis[i].size);
}

/* To compare types with: every symbol a hundred. */
static double size_guess(const Type *t) {
    double size = 1;
    for (int i = 0; i < t->rank; i++)
        size *= extent_is_const(t->axis[i].size) ? (double)t->axis[i].size.base : 100;
    return size;
}

static const Type *largest(const Node *n) {
    const Type *most = n->op == OP_append ? n->inputs[0]->type : n->type;
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i]->op != OP_weight && n->inputs[i]->op != OP_table && n->op != OP_append && (!most || size_guess(n->inputs[i]->type) > size_guess(most)))
            most = n->inputs[i]->type;
    for (int r = 0; r < node_results(n); r++) {
        const Node *get = kernel_get(n, r);
        if (get && get->type && n->op != OP_append && (!most || size_guess(get->type) > size_guess(most)))
            most = get->type;
    }
    return most;
}

/* Columns of all weights together. */
static int64_t all_columns(const Node *gemm) {
    int64_t all = 0;
    for (int w = 0; w < attr_int(gemm, ATTR_weights, 1); w++)
        all += gemm_columns(gemm, w);
    return all;
}

const char *work_text(Emitter *e, const Node *n) {
    Work w = {1, text_new(e->cx->arena)};
    if (n->op == OP_gemm) {
        times_type(e, &w, n->inputs[0]->type);
        times(e, &w, extent_const(all_columns(n)));
    } else if (n->op == OP_attend) {
        const Type *k = n->inputs[1]->type;
        times_type(e, &w, n->inputs[0]->type);
        times(e, &w, k->axis[type_find(k, attr_name(n, ATTR_keys))].size);
        times(e, &w, extent_const(2));
    } else {
        times_type(e, &w, largest(n));
        times(e, &w, extent_const(n->op == OP_linear_attend || n->op == OP_codebook_attend || n->op == OP_dot ? PER_FEATURE : PER_ELEMENT));
    }
    if (!w.symbolic.length)
        return arena_print(e->cx->arena, "%lld", (long long)w.factor);
    return arena_print(e->cx->arena, w.factor == 1 ? "%s" : "%s * %lld", w.symbolic.data, (long long)w.factor);
}

/* ---- text ----------------------------------------------------------------------------------------------------------------------------- */

static const char about[] =
    "/* The work of a kernel falls into parts, PARTS for each thread; few of it into one each, next to none is thread 0's.\n"
    " * A thread takes its own parts first, then those of others that nobody has begun: one that is late or does not come\n"
    " * at all is waited for only where it has begun.";

static const char about_rows[] =
    " With ROWS rows for each thread and more, a thread's parts are of\n"
    " * a block of rows, and it may be kernels ahead of others, as long as it needs only rows of its own.";

static const char types[] =
    "struct queue {                          /* of one thread's parts */\n"
    "    _Alignas(128) ptrdiff_t begun;      /* so many of all kernels so far */\n"
    "    _Alignas(128) ptrdiff_t done;       /* others look at this one all the time, at `begun` seldom */\n"
    "    int asleep;                         /* threads that sleep until `done` changes */\n"
    "};\n";

static const char team_type[] =
    "struct team {                           /* what one thread knows of the others */\n"
    "    struct queue *queue, *busy;         /* one a thread; that of the part which it works on, or NULL */\n"
    "    ptrdiff_t thread, threads;\n"
    "    ptrdiff_t before, more;             /* parts of each queue before this kernel; of the first so many more */\n"
    "    ptrdiff_t part, parts;              /* what it has taken, of how many */\n"
    "    ptrdiff_t look;                     /* it takes from the queue so many after its own */\n";

static const char team_rows[] =
    "    ptrdiff_t rows, from_row, to_row;   /* of the model; those that the part is one of */\n"
    "    int by_rows, helps;                 /* rows are shared out; it goes through kernels once more, for others */\n"
    "    ptrdiff_t start, start_more;        /* before, more, where the kernels began that it may go through again */\n"
    "    ptrdiff_t marked, marked_more;      /* the same at the mark */\n";

static const char team_live[] =
    "    const unsigned char *keep;          /* of each row: whether it counts */\n"
    "    ptrdiff_t kept, owner;              /* how many do; the thread whose rows from_row and to_row are, or -1 */\n";

/* The system's futex, where the file is compiled for Linux on a processor whose lower half of a counter comes first. */
static const char waits[] =
    "static inline void rest(void)\n{\n"
    "#if defined __x86_64__\n"
    "    __builtin_ia32_pause();\n"
    "#elif defined __aarch64__\n"
    "    __asm__ volatile(\"yield\");\n"
    "#endif\n"
    "}\n\n"
    "/* Waits while the lower half of *at is `value` (operation 128), or wakes all who wait there (129). */\n"
    "static void futex(ptrdiff_t *at, long operation, long value)\n{\n"
    "#if defined __x86_64__ && defined __linux__\n"
    "    long number = 202;\n"
    "    register long no_timeout __asm__(\"r10\") = 0;\n"
    "    __asm__ volatile(\"syscall\" : \"+a\"(number) : \"D\"(at), \"S\"(operation), \"d\"(value), \"r\"(no_timeout)\n"
    "                     : \"rcx\", \"r11\", \"memory\");\n"
    "#elif defined __aarch64__ && defined __linux__\n"
    "    register long x0 __asm__(\"x0\") = (long)at, x1 __asm__(\"x1\") = operation, x2 __asm__(\"x2\") = value;\n"
    "    register long x3 __asm__(\"x3\") = 0, x8 __asm__(\"x8\") = 98;\n"
    "    __asm__ volatile(\"svc 0\" : \"+r\"(x0) : \"r\"(x1), \"r\"(x2), \"r\"(x3), \"r\"(x8) : \"memory\");\n"
    "#else\n"
    "    (void)at, (void)operation, (void)value;\n"
    "#endif\n"
    "}\n\n";

static const char finishes[] =
    "static void finish(struct queue *q)\n{\n"
    "    __atomic_fetch_add(&q->done, 1, __ATOMIC_SEQ_CST);\n"
    "    if (__atomic_load_n(&q->asleep, __ATOMIC_SEQ_CST))\n"
    "        futex(&q->done, 129, 0x7fffffff);\n"
    "}\n\n"
    "/* Others do their own parts, as a rule: only those that are not done after a moment are looked at. */\n"
    "static int soon(struct queue *q, ptrdiff_t parts)\n{\n"
    "    for (int i = 0; i < 40; i++) {\n"
    "        if (__atomic_load_n(&q->done, __ATOMIC_RELAXED) >= parts)\n"
    "            return 1;\n"
    "        rest();\n"
    "    }\n"
    "    return 0;\n"
    "}\n\n";

/* What taking a part has in common with and without rows: the next queue that may have one, claiming it, the end. */
#define FIND_QUEUE \
    "        const ptrdiff_t owner = (t->thread + t->look) % t->threads, from = t->before + (owner ? 0 : t->more);\n" \
    "        struct queue *q = t->queue + owner;\n" \
    "        if (owner >= queues || (t->look && soon(q, from + each)))\n" \
    "            continue;\n" \
    "        ptrdiff_t next = __atomic_load_n(&q->begun, __ATOMIC_RELAXED);\n"
#define CLAIM_PART \
    "        while (next < from + each)\n" \
    "            if (__atomic_compare_exchange_n(&q->begun, &next, next + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {\n"
#define END_OF_TAKE \
    "                t->busy = q;\n" \
    "                return 1;\n" \
    "            }\n" \
    "    }\n" \
    "    t->look = 0;\n" \
    "    t->busy = 0;\n" \
    "    if (queues > 1)\n" \
    "        t->before += each;\n" \
    "    else\n" \
    "        t->more += each;\n"

static const char takes[] =
    "static int take_part(struct team *t, ptrdiff_t work)\n{\n"
    "    const ptrdiff_t each = work < FEW ? 1 : PARTS, queues = work < LITTLE ? 1 : t->threads;\n"
    "    if (t->busy)\n"
    "        finish(t->busy);\n"
    "    for (; t->look < t->threads; t->look++) {\n"
    FIND_QUEUE
    CLAIM_PART
    "                t->part = owner * each + next - from;\n"
    "                t->parts = queues * each;\n"
    END_OF_TAKE
    "    return 0;\n"
    "}\n\n"
    "/* The next part of a kernel of so many multiply-adds; 0 if there is none left, and the next kernel begins. */\n"
    "static inline int take(struct team *t, ptrdiff_t work)\n{\n"
    "    return t->threads > 1 ? take_part(t, work) : (int)(t->look = !t->look);\n"
    "}\n\n";

/* The same for a model with rows: a part is one of a thread's rows, if these are shared out, and is not begun before all those of these
 * rows are done that come before it. */
static const char takes_rows[] =
    "enum kind { ANY, OF_ROWS, OWN_ROWS };   /* of a kernel: shared out by rows, if they are; its own parts first */\n\n"
    "static int take_part(struct team *t, ptrdiff_t work, enum kind kind)\n{\n"
    "    const int cut = t->by_rows && kind != ANY, own = cut && kind == OWN_ROWS;\n"
    "    const ptrdiff_t each = work < FEW ? 1 : PARTS, queues = work < LITTLE && !cut ? 1 : t->threads;\n"
    "    if (t->busy)\n"
    "        finish(t->busy);\n"
    "    for (; t->look < (own && !t->helps ? 1 : t->threads); t->look++) {\n"
    FIND_QUEUE
    "        if (t->by_rows && next < from + each)\n"
    "            wait_for(q, from);\n"
    CLAIM_PART
    "                t->part = cut ? next - from : owner * each + next - from;\n"
    "                t->parts = cut ? each : queues * each;\n";

static const char ends_take_rows[] =
    END_OF_TAKE
    "    if (kind != OWN_ROWS)\n"
    "        t->start = t->before, t->start_more = t->more;\n"
    "    return 0;\n"
    "}\n\n"
    "/* The next part of a kernel of so many multiply-adds; 0 if there is none left, and the next kernel begins. */\n"
    "static inline int take_kind(struct team *t, ptrdiff_t work, enum kind kind)\n{\n"
    "    return t->threads > 1 ? take_part(t, work, kind) : (int)(t->look = !t->look);\n"
    "}\n\n";

/* A thread's rows, once it has a part of them: equally many; or equally many of those that count. */
static const char cut_rows[] =
    "                t->from_row = cut ? t->rows * owner / t->threads : 0;\n"
    "                t->to_row = cut ? t->rows * (owner + 1) / t->threads : t->rows;\n";
static const char cut_live[] =
    "                if (cut && t->owner != owner)\n"
    "                    find_rows(t, owner);\n";

static const char finds_rows[] =
    "/* Where the rows of a thread begin, so that each has equally many that are kept. */\n"
    "static ptrdiff_t first_row(const struct team *t, ptrdiff_t owner)\n{\n"
    "    ptrdiff_t row = 0;\n"
    "    for (ptrdiff_t before = t->kept * owner / t->threads; before > 0; row++)\n"
    "        before -= t->keep[row] != 0;\n"
    "    return row;\n"
    "}\n\n"
    "static void find_rows(struct team *t, ptrdiff_t owner)\n{\n"
    "    t->owner = owner;\n"
    "    t->from_row = first_row(t, owner);\n"
    "    t->to_row = owner + 1 < t->threads ? first_row(t, owner + 1) : t->rows;\n"
    "}\n\n";

/* What else the calls may mention, in this order. */
static const struct { const char *name, *text; } by_mention[] = {
    {"take", "static inline int take(struct team *t, ptrdiff_t work) { return take_kind(t, work, ANY); }\n\n"},
    {"take_rows", "static inline int take_rows(struct team *t, ptrdiff_t work) { return take_kind(t, work, OF_ROWS); }\n\n"},
    {"take_own", "static inline int take_own(struct team *t, ptrdiff_t work) { return take_kind(t, work, OWN_ROWS); }\n\n"},
    {"help",
     "/* Whether to go through the kernels since the last meeting once more, for parts of others that nobody has begun; not\n"
     " * for a few that somebody will come to who has begun the ones before. */\n"
     "static int help_others(struct team *t, ptrdiff_t few)\n{\n"
     "    int helps = 0;\n"
     "    for (ptrdiff_t i = 0; t->by_rows && !t->helps && i < t->threads; i++) {\n"
     "        const ptrdiff_t end = t->before + (i ? 0 : t->more), from = t->start + (i ? 0 : t->start_more);\n"
     "        const ptrdiff_t begun = __atomic_load_n(&t->queue[i].begun, __ATOMIC_RELAXED);\n"
     "        helps |= begun < end - few || (begun < end && begun <= from);\n"
     "    }\n"
     "    t->helps = helps;\n"
     "    if (helps)\n"
     "        t->before = t->start, t->more = t->start_more;\n"
     "    else\n"
     "        t->start = t->before, t->start_more = t->more;\n"
     "    return helps;\n"
     "}\n\n"
     "static inline int help(struct team *t, ptrdiff_t few) { return t->threads > 1 && help_others(t, few); }\n\n"},
    {"follow",
     "/* To kernels that need only their own rows: a meeting, unless the rows are shared out. */\n"
     "static inline void follow(struct team *t)\n{\n"
     "    if (!t->by_rows)\n        meet(t);\n"
     "}\n\n"},
    {"mark", "static inline void mark(struct team *t) { t->marked = t->before, t->marked_more = t->more; }\n\n"},
    {"settle",
     "/* Until the kernel at the mark is done, as it is long since, by the parts of all. */\n"
     "static inline void settle(struct team *t)\n{\n"
     "    for (ptrdiff_t i = 0; t->by_rows && t->threads > 1 && i < t->threads; i++)\n"
     "        wait_for(t->queue + i, t->marked + (i ? 0 : t->marked_more));\n"
     "}\n\n"},
};

static const char wait_text[] =
    "/* Until so many parts of the queue are done. */\n"
    "static void wait_for(struct queue *q, ptrdiff_t parts)\n{\n"
    "    ptrdiff_t done;\n"
    "    for (int spins = 0; (done = __atomic_load_n(&q->done, __ATOMIC_ACQUIRE)) < parts; spins++) {\n"
    "        if (spins < 4000) {\n"
    "            rest();\n"
    "            continue;\n"
    "        }\n"
    "        __atomic_fetch_add(&q->asleep, 1, __ATOMIC_SEQ_CST);\n"
    "        if (__atomic_load_n(&q->done, __ATOMIC_SEQ_CST) == done)\n"
    "            futex(&q->done, 128, (int)done);\n"
    "        __atomic_fetch_sub(&q->asleep, 1, __ATOMIC_SEQ_CST);\n"
    "    }\n"
    "}\n\n";

static const char meets[] =
    "/* Until all parts of the kernels so far are done. */\n"
    "static void meet(struct team *t)\n{\n"
    "    for (ptrdiff_t i = 0; t->threads > 1 && i < t->threads; i++)\n"
    "        wait_for(t->queue + i, t->before + (i ? 0 : t->more));\n"
    "}\n\n";

void emit_team(Emitter *e, const char *calls, Text *out) {
    const char *call = arena_print(e->cx->arena, "const struct %s_call *call", e->prefix);
    bool rows = mentions(calls, "to_row"), live = mentions(calls, "next_run"), waiting = rows || e->options->timing || mentions(calls, "meet");
    text_add(out, "%s%s */\nenum { PARTS = 4, ", about, rows ? about_rows : "");
    if (rows)
        text_add(out, "ROWS = %d, ", e->options->split ? 1 : 16);
    text_add(out, "%s }; /* multiply-adds */\n", e->options->split ? "LITTLE = 0, FEW = 0" : "LITTLE = 1 << 15, FEW = 1 << 19");
    text_add(out, "%s%s%s%s};\n\n%s%s", types, team_type, rows ? team_rows : "", live ? team_live : "", waits, finishes);
    if (waiting)
        text_add(out, "%s%s", wait_text, meets);
    if (live)
        emit_live(true, out);
    text_add(out, "%s", live ? finds_rows : "");
    if (rows)
        text_add(out, "%s%s%s", takes_rows, live ? cut_live : cut_rows, ends_take_rows);
    else
        text_add(out, "%s", takes);
    for (size_t i = 0; rows && i < sizeof by_mention / sizeof *by_mention; i++)
        if (mentions(calls, by_mention[i].name))
            text_add(out, "%s", by_mention[i].text);
    if (e->options->taps)
        text_add(out,
                 "static void show(%s, int64_t kernel, int64_t layer, const void *data)\n{\n"
                 "    if (call->tap)\n        call->tap(call->tap_state, kernel, layer, data);\n}\n\n", call);
    if (e->options->timing)
        text_add(out,
                 "/* The time since the last lap goes to this kernel. */\n"
                 "static void lap(%s, struct team *t, int kernel, uint64_t *since)\n{\n"
                 "    meet(t);\n    if (t->thread || !call->times)\n        return;\n"
                 "    uint64_t now = call->clock();\n"
                 "    call->times[kernel] += now - *since;\n    *since = now;\n}\n\n", call);
}
