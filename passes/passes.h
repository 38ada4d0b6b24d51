/* Passes: GRAPH -> KERNEL, every decision a remark. The pipeline is the array in pipeline.c. */
#ifndef ATTAR_PASSES_PASSES_H
#define ATTAR_PASSES_PASSES_H

#include "ir/ir.h"

typedef enum PassKind { PASS_EXACT, PASS_EXACT_IF, PASS_APPROX } PassKind;
enum { FACT_USES = 1, FACT_NAMES = 2, FACT_PLACES = 4 };         /* what a pass needs on entry and breaks on exit */

typedef enum PassId {
#define PASS(id, name, kind, needs, breaks, sentence) PASS_ID_##id,
#include "passes/passes.def"
#undef PASS
    PASS_COUNT
} PassId;

/* ---- remarks (remark.c): one record per decision, aggregated over repeated layers -------------------------------- */

typedef enum RemarkKind { REMARK_PASSED, REMARK_MISSED, REMARK_ANALYSIS } RemarkKind;
typedef enum RemarkCode {               /* closed list; each has an `attar explain` page */
#define REMARK(code, sentence, page) REMARK_##code,
#include "passes/remarks.def"
#undef REMARK
    REMARK_CODE_COUNT
} RemarkCode;

typedef struct Remark {
    RemarkKind kind;
    RemarkCode code;
    const char *pass, *op;              /* pass name; name of the node concerned */
    Span at, evidence;                  /* evidence: what made the first predicate fail; source NULL if none */
    const char *why, *help;             /* sentences; help may be NULL */
    int64_t times;                      /* layers it holds for (1 outside a repeat) */
    double bytes_before, bytes_after, flops;    /* of one layer, at usual_sizes; 0 if not meant */
} Remark;

typedef struct NamedSize { const char *name; int64_t value; } NamedSize;

typedef struct Remarks {
    Remark *items;
    size_t count, capacity;
    Arena *arena;
    const NamedSize *asked;             /* run-time sizes for estimates; others are the usual ones */
    int n_asked;
} Remarks;

/* Sizes in the order of the model's symbols: those asked for, otherwise B = 1, past = 0 and min(128, bound). */
void usual_sizes(const Remarks *remarks, const Graph *model, int64_t *sizes);

typedef struct PassContext {
    Context *cx;
    Remarks *remarks;
    const char *pass;                   /* the running pass's name */
    struct LinearizePlan *linearize;    /* linearize.h; NULL: nothing is approximated */
    struct LowrankPlan *lowrank;        /* lowrank.h; NULL: no weight is factored */
    bool bf16;                          /* products with weights take bf16 operands */
    bool last_position;                 /* results along the positions of a call are those of the last one */
} PassContext;

Remark *remark(PassContext *px, RemarkKind kind, RemarkCode code, const Node *n, const char *why, ...) __attribute__((format(printf, 5, 6)));
void remark_print(const Remark *r, Text *out);                  /* one line for people */
void remark_json(const Remark *r, const char *model, Text *out);        /* one JSON line (language.md 7.2) */
const char *remark_code_name(RemarkCode code);
const char *remark_code_sentence(RemarkCode code);
const char *remark_code_page(RemarkCode code);

/* ---- the runner (pipeline.c) ------------------------------------------------------------------------------------- */

typedef struct PassInfo {
    const char *name, *sentence;
    PassKind kind;
    unsigned needs, breaks;
    bool (*run)(PassContext *px, Graph *model);                 /* true if it changed anything */
} PassInfo;
extern const PassInfo pass_info[PASS_COUNT];

typedef struct PassStep { PassId id; const char *reason; } PassStep;     /* why it stands at this place of the pipeline */
extern const PassStep pipeline[];
extern const int pipeline_length;

typedef struct PassTime { const char *pass; double seconds; bool changed; int nodes_before, nodes_after; } PassTime;   /* pass is its name; nodes without those of kernels' bodies */

typedef struct PassOptions {
    bool off[PASS_COUNT];               /* --pass NAME=off; `lower` and `plan-memory` cannot be off */
    const char *stop_after;             /* run up to and including this pass; NULL: all */
    const char *stop_before;            /* run up to where this pass first stands, without it; NULL: all */
    void (*after)(void *state, const PassInfo *pass, const Graph *model, const PassTime *time);    /* dumps; may be NULL */
    void *after_state;
    struct LinearizePlan *linearize;    /* what attention is approximated with (linearize.h); NULL: none is */
    struct LowrankPlan *lowrank;        /* which weights are factored (lowrank.h); NULL: none is */
    bool bf16;                          /* products with weights take bf16 operands (compute_bf16.c) */
    bool last_position;                 /* results along the positions of a call are those of the last one, where nothing but that is read (narrow_output.c) */
} PassOptions;

/* Runs the pipeline in place: supplies facts, verifies after each pass, times it. False and E9901 with the pass
 * named if the verifier objects. */
bool passes_run(Context *cx, Graph *model, const PassOptions *options, Remarks *remarks, PassTime *times /* [pipeline_length], may be NULL */);

/* One pass alone, for tests and `attar opt`. */
bool pass_run_one(Context *cx, Graph *model, PassId id, Remarks *remarks);
bool pass_from_name(const char *name, PassId *out);

/* Estimates used by remarks, reports and bench (cost.c): with concrete run-time sizes. */
typedef struct Cost { double flops, bytes_read, bytes_written, bytes_of_weights /* among those read */; } Cost;
Cost node_cost(const Node *n, const int64_t *sizes);            /* one execution of a KERNEL node */
Cost graph_cost(const Graph *model, const int64_t *sizes);      /* the whole model, repeats counted */
int64_t plan_arena_bytes(const Graph *model, const int64_t *sizes, int64_t *lower_bound);

/* What the passes made of a model (account.c). */
typedef struct Stored {                 /* a value that one kernel writes into the arena for others */
    const Node *value, *writer;
    const char *readers;                /* "gemm, attend" */
    double bytes;                       /* of one buffer */
    int64_t times;                      /* how often a run writes it */
} Stored;

typedef struct Account {
    Cost before, after;                 /* of the graph as loaded, of its kernels */
    int64_t arena, lower_bound;         /* bytes; no plan needs less than the bound */
    double separate;                    /* bytes if each stored value had memory of its own */
    Stored *stored;                     /* largest first */
    int n_stored;
} Account;
Account account_of(Arena *a, const Graph *loaded, const Graph *kernels, const int64_t *sizes);
Remark account_remark(Arena *a, const Stored *s);       /* MATERIALISED */

#endif
