/* The whole way in one call: model file, config and checkpoint to IR, passes, C, machine code, packed weights. Used by attar.c and by every verb. */
#ifndef ATTAR_DRIVER_COMPILE_H
#define ATTAR_DRIVER_COMPILE_H

#include "codegen/ship.h"
#include "driver/adapter.h"
#include "driver/merge.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "runtime/checkpoint.h"
#include "runtime/jit.h"
#include "runtime/session.h"
#include "support/approximation.h"

typedef struct CompileOptions {
    const char *model, *weights, *config;       /* paths; weights and config may be NULL */
    const char *const *more_weights;            /* more of them, NULL-terminated; may be NULL */
    const char *model_name;                     /* of the file's models; NULL: its only one */
    bool allow_extra;
    const char *const *linearize;               /* requests (support/linearize.h), NULL-terminated; may be NULL */
    const char *const *lowrank;                 /* requests (support/lowrank.h), NULL-terminated; may be NULL */
    const char *compute;                        /* the type of products' operands (support/compute.h); NULL: f32 */
    const char *calibrate;                      /* safetensors file with inputs of the model; may be NULL */
    bool time_heads;                            /* heads that are linearized are timed before and after, for the tables of the records */
    PassOptions passes;
    bool taps, timing, tiles;                   /* as EmitOptions has them */
    const char *target;                         /* NULL: native */
    bool untuned;                               /* tiles that `attar tune` measured are left aside */
    int alternative;                            /* as EmitOptions has it */
    JitOptions jit;
    bool last_position;                         /* outputs along the positions of a call hold the last of them alone, as [.., 1, ..], if that spares a product */
    const char *store;                          /* the type that weights are kept in (support/store.h); NULL: as stored */
    bool wide_weights;                          /* bf16 and f16 weights are widened to f32 when they are packed, not where they are read */
    int threads;                                /* for packing */
    const char *const *lora;                    /* adapters, DIR or DIR:weight, NULL-terminated; may be NULL */
    const char *lora_mode;                      /* merge, side or slots (lora_side.h); NULL: what costs less (adapted.c) */
    bool lora_stored;                           /* merged weights are rounded to the base's own type */
} CompileOptions;

/* Where the time went, in the order of the stages: `start` is what the process had computed before compile_begin; `build` is split by JitStats. */
typedef struct Stage { const char *name; double seconds; } Stage;
enum { MAX_STAGES = 16 };

typedef struct Compilation {
    Context cx;
    Arena arena;
    Names names;
    Diags diags;
    Source source;
    Checkpoint *checkpoint;                     /* NULL without weights */
    Adapters adapters;
    Checkpoint *unmerged;                       /* below `checkpoint`: with what adapters replace whole, without their pairs */
    Merge merge;
    json_t *config;
    json_t *other_configs[8]; const char *other_paths[8]; int n_other_configs;      /* files beside the weights that `config` declarations name */
    const char **folders, **prefixes; int n_folders;    /* where the weights lie; what stands before their names, or NULL */
    ModelOptions options;                       /* that the model was loaded with */
    Model model;                                /* model.graph: GRAPH level as loaded */
    Graph *kernels;                             /* after the passes */
    Remarks remarks;
    Approximations approximations;              /* whoever approximates adds a record before compile_emit, which refuses one over its bound */
    PassTime *times;
    Emitted emitted;
    JitStats jit_stats;
    Jit *jit;
    Packed packed;
    Program program;
    Stage stages[MAX_STAGES]; int n_stages;
    double since;                               /* when the last of them ended */
} Compilation;

/* Each stage needs the one before; false if errors were reported (in c->diags). compile_free releases everything in any state. */
void compile_begin(Compilation *c);
/* Config and checkpoint alone, into c and `options`: the first half of compile_load, for tools without a model file. */
bool compile_checkpoint(Compilation *c, const CompileOptions *o, ModelOptions *options);
bool compile_load(Compilation *c, const CompileOptions *o);     /* parse, bind, check against the checkpoint */
bool compile_passes(Compilation *c, const CompileOptions *o);   /* graph_copy, then the pipeline */
bool compile_emit(Compilation *c, const CompileOptions *o);
/* Instead of compile_emit: as C that is compiled elsewhere. `ship` has the targets and the threads; the rest of it is written here. */
bool compile_ship(Compilation *c, const CompileOptions *o, ShipOptions *ship, Shipped *out);
bool compile_build(Compilation *c, const CompileOptions *o);    /* clang, or the cache, and link.h; weights packed */
bool compile_all(Compilation *c, const CompileOptions *o);      /* the four of them */
void compile_free(Compilation *c);

/* A stage ends here; the next one begins. Those after the first MAX_STAGES (a compilation in several rounds) are not kept. */
void compile_stage(Compilation *c, const char *name);

const Target *compile_target(Compilation *c, const CompileOptions *o);           /* that o names; NULL and E0850 */
bool compile_may_turn_off(PassId id);                           /* `lower` and `plan-memory` have to run */

#endif
