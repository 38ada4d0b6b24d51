/* The command: what its verbs share. One file per verb; each verb has its own argp parser and returns the exit status.
 *
 *     static const struct argp_child groups[] = {{&model_group, 0, NULL, 0}, {&output_group, 0, NULL, 0}, {0}};
 *     int verb_check(int argc, char **argv)
 *     {
 *         Options o = {0};
 *         options_parse(&argp, argc, argv, &o);          (argp's parser hands &o to its groups with options_to_groups)
 *         Tool t;
 *         tool_begin(&t, &o);
 *         return tool_end(&t, check(&t));
 *     }
 *
 * Results go to stdout, messages to stderr. */
#ifndef ATTAR_CLI_CLI_H
#define ATTAR_CLI_CLI_H

#include <argp.h>

#include "driver/compile.h"
#include "driver/signature.h"

#define ATTAR_VERSION "0.1.0"

enum { EXIT_GOOD = 0, EXIT_MODEL = 1, EXIT_USAGE = 2, EXIT_INPUT = 3, EXIT_ENVIRONMENT = 4, EXIT_INTERNAL = 70 };

/* ---- verbs (main.c) ---------------------------------------------------------------------------------------------- */

#define VERBS(X) \
    X(run, "run a model on inputs from files") \
    X(verify, "compare a model's outputs with a golden file") \
    X(generate, "continue a text, token by token") \
    X(new, "the model file to start from, for a checkpoint") \
    X(check, "types, axes and every weight against the checkpoint; no code") \
    X(ir, "the model as IR, after any pass") \
    X(opt, "some passes on IR text") \
    X(emit, "the C that the model becomes") \
    X(build, "a folder with which the model is part of a program: C, weights, a check, an example") \
    X(report, "what was fused, what was not, and why") \
    X(diff, "machine code against the float64 interpreter, value by value") \
    X(tune, "the fastest tiles for a model's products on this machine, kept for later runs") \
    X(bench, "time per kernel and its share of this machine's limit") \
    X(inspect, "what is in a safetensors file") \
    X(linearize, "what linear attention would cost each layer of a model, and save") \
    X(expand, "a wider checkpoint that gives the same output") \
    X(extract_lora, "what a fine-tuned checkpoint changed, as an adapter of low rank") \
    X(doctor, "the compiler, the processor, the cache directory, versions") \
    X(cache, "list, verify or prune the compiled objects kept on disk") \
    X(ops, "the operators of the model language") \
    X(explain, "the page of an error code or of a reason in a report") \
    X(passes, "the passes in the order in which they run") \
    X(help, "this list, or the help of one verb")

#define VERB_PROTOTYPE(name, summary) int verb_##name(int argc, char **argv);
VERBS(VERB_PROTOTYPE)
#undef VERB_PROTOTYPE

/* ---- options (options.c) ----------------------------------------------------------------------------------------- */

enum { MAX_NAMED = 64 };

typedef struct NamedFile { const char *name, *path; } NamedFile;        /* name NULL: the option had no NAME= */

typedef struct Options {
    CompileOptions compile;
    int threads;                        /* 0: as many as the process may use */
    NamedSize dims[MAX_NAMED]; int n_dims;
    NamedFile inputs[MAX_NAMED]; int n_inputs;
    const char *weights[MAX_NAMED + 1]; int n_weights;  /* behind the first; NULL-terminated */
    const char *lora[MAX_NAMED + 1]; int n_lora;        /* adapters; NULL-terminated */
    const char *linearize[MAX_NAMED + 1]; int n_linearize;      /* NULL-terminated */
    const char *lowrank[MAX_NAMED + 1]; int n_lowrank;
    uint64_t seed;
    bool json_errors, json;
    const char *remarks;                /* --remarks FILE: every decision as JSON Lines; NULL: none */
    bool remark_summary;                /* -R */
    enum { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER } colour;
    int groups;                         /* of options that the verb's parser has */
} Options;

/* Groups of options for argp; their input is an Options. */
extern const struct argp model_group;   /* MODEL --model --weights --config --allow-extra --lora --lora-combine --lora-dtype */
extern const struct argp build_group;   /* --pass --remarks -R --target --clang --no-cache --cache-dir */
extern const struct argp threads_group; /* --threads */
extern const struct argp dims_group;    /* --dim */
extern const struct argp inputs_group;  /* --input --seed */
extern const struct argp output_group;  /* --color --error-format */

/* Parses the words after the verb into `input`: an Options, or a struct that begins with one. On a usage error (with a
 * suggestion for a mistyped option) or --help it does not return. */
void options_parse(const struct argp *argp, int argc, char **argv, void *input);
void options_to_groups(struct argp_state *state, Options *o);           /* for ARGP_KEY_INIT */

/* The parser of a verb that has no options of its own; its input is the Options. */
error_t options_only(int key, char *arg, struct argp_state *state);

/* For the values of options; usage errors if they do not fit. */
int64_t options_integer(struct argp_state *state, const char *option, const char *text, int64_t low, int64_t high);
double options_real(struct argp_state *state, const char *option, const char *text, double low, double high);
#define OPTIONS_SHIP_THREADS \
    "none (default): nothing of threads is in the file; caller: the program brings a function that runs a body on its " \
    "threads; pool: the file has threads of its own besides"
ShipThreads options_ship_threads(struct argp_state *state, const char *text); /* --threads of build and emit */
void options_pass(struct argp_state *state, const char *name, PassId *out);
void options_turn_pass(struct argp_state *state, Options *o, char *text);       /* NAME=off or NAME=on */
NamedFile options_named_file(struct argp_state *state, const char *option, char *text);

/* ---- one command's work (tool.c) --------------------------------------------------------------------------------- */

typedef struct Tool {
    const Options *o;
    Compilation c;
    bool colour, colour_out;            /* on stderr, on stdout */
} Tool;

void tool_begin(Tool *t, const Options *o);
void tool_flush(Tool *t);               /* writes the diagnostics so far, so that they stand before what follows */
int tool_end(Tool *t, bool good);       /* writes diagnostics, frees everything, gives the exit status; not good without an error: 1 */
bool tool_load(Tool *t);                /* compile_load, or the IR text if the model is a .ir file */
bool tool_is_ir(const char *path);
const char *tool_paint(const Tool *t, const char *escape);      /* the escape sequence for stdout, or "" without colour */

/* A session for these inputs' batch; to be released with session_free. */
Session *tool_session(Tool *t, const HostTensor *inputs, int n_inputs, const SessionHooks *hooks);

/* What the passes fused, on one line: "attention 6, projections 12". */
const char *tool_fused(Tool *t);

void tool_note(const char *format, ...) __attribute__((format(printf, 1, 2)));  /* one line on stderr */
double tool_seconds(void);              /* monotonic */
int tool_threads(const Options *o);

/* "1,234", "2.4 M", "4.8 MB" for people. */
const char *tool_count(Arena *a, double count);
const char *tool_bytes(Arena *a, double bytes);
double tool_peak(void);                 /* the most memory that this process has had resident, in bytes; 0 if the kernel does not say */

/* ---- decisions (remarks.c) --------------------------------------------------------------------------------------- */

typedef struct Decisions {              /* of one pass; the sizes behind bytes are those of --dim, others the usual ones */
    const PassInfo *pass;
    const char *noun;                   /* "attention" for fuse-attention */
    bool folded;
    int64_t done, refused;              /* layers counted */
    double bytes;                       /* of traffic saved */
    const char *what;                   /* what it says, the largest saving first: "add, gelu; add on the accumulators" */
} Decisions;

/* Passes that made something or were refused, the one that saves most first. */
int remarks_decisions(Tool *t, Decisions **out);
Account remarks_account(Tool *t, int64_t *sizes /* room for c->kernels' symbols */);
typedef struct Kept { int states; double state_bytes, position_bytes; } Kept;   /* of a row of the batch: layers' states, other caches a position */
Kept remarks_kept(const Plan *plan);
double remarks_weights(const Plan *plan, DType dtype);      /* bytes of packed weights of this type */
const char *remarks_inexact(Tool *t);   /* names of the passes that approximated something, or NULL */
void timing_print(Tool *t);             /* the stages of the compilation, as text or JSON Lines */
void remarks_json(Tool *t, Text *out);  /* one JSON object a line: remarks, stored values, a summary */
bool remarks_save(Tool *t);             /* as --remarks asks */
void remarks_summary(Tool *t);          /* as -R asks: at most 12 lines on stderr */

/* ---- tensors (tensors.c) ----------------------------------------------------------------------------------------- */

/* All inputs named on the command line; .safetensors files give all their names, with or without `input.` before them. */
bool tensors_load(Context *cx, const Options *o, const Plan *plan, HostTensor **out, int *count);
void tensors_left_out(const char *name); /* says so of an input that only the golden file has */

/* Splits the tensors of a golden file: `input.X` and `output.X`, renamed to X. */
void tensors_split(Context *cx, const HostTensor *all, int count, HostTensor **inputs, int *n_inputs, HostTensor **outputs, int *n_outputs);

const HostTensor *tensors_find(const HostTensor *tensors, int count, const char *name);
const PlanTensor *plan_tensor(const PlanTensor *tensors, int count, const char *name); /* NULL: none of this name */

/* Writes outputs as the command line asks: NAME=FILE.npy, FILE.npy (a single output) or FILE.safetensors (all). */
bool tensors_save(Context *cx, const NamedFile *files, int n_files, const HostTensor *outputs, int count);

/* Positions [first, first + count) along an axis, copied into the arena. */
HostTensor tensors_slice(Arena *a, const HostTensor *t, int axis, int64_t first, int64_t count);

void tensors_describe(const HostTensor *t, Text *out);          /* f32[2, 13, 97] */

typedef struct Difference { double absolute, relative, largest; int64_t at; bool nan; } Difference;

/* `relative` is to the largest finite magnitude of `want`; counts must be equal. Takes the worse of what *d holds and what it finds. */
void tensors_compare(const HostTensor *got, const HostTensor *want, Difference *d);

/* ---- how close an output has to be to a golden file (tolerance.c) ------------------------------------------------ */

typedef struct Tolerance Tolerance;

/* What the .json file beside the golden file says, or *atol for all outputs; NULL and E0656 if that file is no good. */
Tolerance *tolerance_read(Context *cx, const char *golden, const double *atol);
/* The largest absolute error that passes; 0 for whole numbers. */
double tolerance_of(const Tolerance *t, const HostTensor *want, double largest);
void tolerance_free(Tolerance *t);

#endif
