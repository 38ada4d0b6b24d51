/* Compilation: the stages from a model file to a Program, in the order in which compile.h names them.
 *
 * A Compilation holds pointers into itself (the context), so it must not be moved between compile_begin and
 * compile_free. */
#include <assert.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "driver/adapted.h"
#include "driver/compile.h"
#include "driver/compute.h"
#include "driver/linearize.h"
#include "driver/lowrank.h"
#include "driver/narrow.h"
#include "driver/source.h"
#include "driver/storage.h"
#include "driver/tuned.h"

enum { CONFIG_LIMIT = 16 << 20, CONFIG_DEPTH = 32, MODEL_LIMIT = 1 << 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void compile_stage(Compilation *c, const char *name)
{
    double time = now();
    if (c->n_stages < MAX_STAGES)
        c->stages[c->n_stages++] = (Stage){name, time - c->since};
    c->since = time;
}

void compile_begin(Compilation *c)
{
    memset(c, 0, sizeof *c);
    c->names.map = map_new(&c->arena);
    c->diags.arena = &c->arena;
    c->cx = (Context){.arena = &c->arena, .diags = &c->diags, .names = &c->names};
    c->remarks.arena = &c->arena;
    c->approximations.arena = &c->arena;
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    c->stages[c->n_stages++] = (Stage){"start", (double)used.tv_sec + (double)used.tv_nsec * 1e-9};
    c->since = now();
}

/* NAME of NAME=PATH, and where PATH begins; NULL if the whole is a path. */
static const char *prefix_of(Compilation *c, const char **path)
{
    const char *equals = strchr(*path, '=');
    size_t length = equals ? (size_t)(equals - *path) : 0;
    if (!length || strcspn(*path, "./\\ ") < length || access(*path, F_OK) == 0)
        return NULL;
    const char *prefix = arena_copy(&c->arena, *path, length);
    *path = equals + 1;
    return prefix;
}

/* The folders of the weights, in the order in which they were given. */
static const char *const *collect_weights(Compilation *c, const CompileOptions *o)
{
    int n = o->weights != NULL;
    for (const char *const *more = o->more_weights; more && *more; more++)
        n++;
    const char **paths = arena_array(&c->arena, (size_t)n + 1, sizeof *paths);
    c->folders = arena_array(&c->arena, (size_t)n + 1, sizeof *c->folders);
    c->prefixes = arena_array(&c->arena, (size_t)n + 1, sizeof *c->prefixes);
    for (int i = 0, more = 0; i < n; i++) {
        const char *path = i == 0 && o->weights ? o->weights : o->more_weights[more++];
        c->prefixes[i] = prefix_of(c, &path);
        paths[i] = path;
        struct stat info;
        const char *slash = strrchr(path, '/');
        bool directory = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
        const char *folder = directory ? path : slash ? arena_copy(&c->arena, path, (size_t)(slash - path)) : ".";
        c->folders[i] = *folder ? folder : "/";
    }
    c->n_folders = n;
    return paths;
}

/* The file in the first folder that has one, or NULL; "NAME/file" is that of the folder given as NAME=PATH. */
static const char *file_beside(Compilation *c, const char *name)
{
    const char *slash = strchr(name, '/');
    const char *prefix = slash ? arena_copy(&c->arena, name, (size_t)(slash - name)) : NULL;
    name = slash ? slash + 1 : name;
    if (strchr(name, '/'))
        return NULL;
    for (int i = 0; i < c->n_folders; i++) {
        if (prefix ? !c->prefixes[i] || strcmp(c->prefixes[i], prefix) != 0 : c->prefixes[i] != NULL)
            continue;
        const char *path = arena_print(&c->arena, "%s/%s", c->folders[i], name);
        if (access(path, F_OK) == 0)
            return path;
    }
    return NULL;
}

/* Another file than config.json that a `config` declaration names. */
static json_t *other_config(Context *cx, void *state, const char *name, const char **path)
{
    Compilation *c = state;
    enum { MOST = sizeof c->other_configs / sizeof *c->other_configs };
    *path = file_beside(c, name);
    if (!*path)
        return NULL;
    if (c->n_other_configs == MOST) {
        diag_file_error(cx->diags, "E0590", *path, NULL, "a model reads at most %d files beside config.json", (int)MOST);
        return NULL;
    }
    json_t *json = json_read_file(cx->diags, "E0590", *path, CONFIG_LIMIT, CONFIG_DEPTH);
    if (json) {
        c->other_paths[c->n_other_configs] = *path;
        c->other_configs[c->n_other_configs++] = json;
    }
    return json;
}

bool compile_checkpoint(Compilation *c, const CompileOptions *o, ModelOptions *options)
{
    const char *const *weights = collect_weights(c, o);
    *options = (ModelOptions){.n_checkpoint = -1, .other_config = other_config, .state = c};
    options->config_path = o->config ? o->config : file_beside(c, "config.json");
    if (options->config_path) {
        c->config = json_read_file(&c->diags, "E0590", options->config_path, CONFIG_LIMIT, CONFIG_DEPTH);
        if (!c->config)
            return false;
        options->config = c->config;
    }
    if (c->n_folders) {
        c->checkpoint = checkpoint_open_all(&c->cx, weights, c->prefixes, c->n_folders);
        if (!c->checkpoint)
            return false;
        options->checkpoint = checkpoint_tensors(c->checkpoint, &options->n_checkpoint);
        options->checkpoint_path = checkpoint_path(c->checkpoint);
    }
    return true;
}

static bool read_used(Context *cx, void *state, const char *path, Source *out)
{
    (void)state;
    return source_read(cx, "E0100", path, MODEL_LIMIT, out);
}

bool compile_load(Compilation *c, const CompileOptions *o)
{
    if (!source_read(&c->cx, "E0100", o->model, MODEL_LIMIT, &c->source) ||
        !compile_checkpoint(c, o, &c->options) || !adapted_weights(c, o))
        return false;
    compile_stage(c, "open");
    c->options.allow_extra = o->allow_extra;
    c->options.model = o->model_name;
    c->options.read = read_used;
    if (!model_load(&c->cx, &c->source, &c->options, &c->model) || !adapted_model(c, o) || !narrow_weights(c, o))
        return false;
    storage_mark(c, c->model.graph, o->wide_weights);
    compile_stage(c, "parse");
    return true;
}

bool compile_may_turn_off(PassId id)
{
    return id != PASS_ID_lower && id != PASS_ID_plan_memory;
}

bool compile_passes(Compilation *c, const CompileOptions *o)
{
    assert(c->model.graph);
    c->kernels = graph_copy(&c->cx, c->model.graph);
    PassOptions passes = o->passes;
    passes.last_position = o->last_position;
    if (!compute_plan(c, o, &passes) || !lowrank_plan(c, o, &passes.lowrank) || !linearize_plan(c, o, &passes.linearize))
        return false;
    storage_mark(c, c->kernels, o->wide_weights); /* again: tensors may have been made in the place of stored ones */
    c->times = arena_array(&c->arena, (size_t)pipeline_length, sizeof *c->times);
    bool good = passes_run(&c->cx, c->kernels, &passes, &c->remarks, c->times);
    compile_stage(c, "passes");
    return good && compute_record(c, o);
}

static const char *checkpoint_key(void *state, const char *key)
{
    Compilation *c = state;
    return model_key(&c->cx, &c->model, key, -1);
}

const Target *compile_target(Compilation *c, const CompileOptions *o)
{
    if (!o->target || !strcmp(o->target, "native"))
        return target_native();
    const Target *t = target_by_name(o->target);
    if (t)
        return t;
    Diag *d = diag_file_error(&c->diags, "E0850", NULL, NULL, "no target is called `%s`", o->target);
    for (int i = 0; i < target_count; i++)
        diag_note(d, "known target: %-9s  %s", targets[i].name, targets[i].machines);
    diag_note(d, "`native` is %s here", target_native()->name);
    return NULL;
}

static EmitOptions emit_options(Compilation *c, const CompileOptions *o, const Target *target, TileTable *tuned)
{
    EmitOptions options = {.target = target,
                           .taps = o->taps,
                           .timing = o->timing,
                           .tiles = o->tiles,
                           .alternative = o->alternative,
                           .units = pool_cpus(),
                           .key = checkpoint_key,
                           .key_state = c,
                           .approximations = &c->approximations};
    if (!o->untuned && tuned_read(&c->cx, &o->jit, target, tuned))
        options.tuned = tuned;
    return options;
}

bool compile_emit(Compilation *c, const CompileOptions *o)
{
    assert(c->kernels);
    if (!approximations_check(&c->diags, &c->approximations))
        return false;
    const Target *target = compile_target(c, o);
    if (!target)
        return false;
    TileTable tuned;
    EmitOptions options = emit_options(c, o, target, &tuned);
    bool good = codegen_emit(&c->cx, c->kernels, &options, &c->emitted);
    compile_stage(c, "emit");
    return good;
}

bool compile_ship(Compilation *c, const CompileOptions *o, ShipOptions *ship, Shipped *out)
{
    assert(c->kernels && ship->n_targets > 0);
    if (!approximations_check(&c->diags, &c->approximations))
        return false;
    TileTable tuned;
    ship->emit = emit_options(c, o, ship->targets[0], &tuned);
    if (ship->n_targets > 1)
        ship->emit.tuned = NULL; /* measured for one of them */
    bool good = codegen_ship(&c->cx, c->kernels, ship, out);
    ship->emit.tuned = NULL;
    compile_stage(c, "emit");
    return good;
}

static bool needs_checkpoint(const Plan *plan)
{
    for (int i = 0; i < plan->n_weights; i++)
        if (!plan->weights[i].data)
            return true;
    return false;
}

/* ISO C has no conversion from an object pointer to a function pointer; POSIX promises that the bits are the same. */
static bool find_function(Compilation *c, const char *suffix, void *out)
{
    void *address = jit_symbol(&c->cx, c->jit, arena_print(&c->arena, "%s_%s", c->emitted.plan.name, suffix));
    memcpy(out, &address, sizeof address);
    return address != NULL;
}

static bool has_checkpoint(Compilation *c, const CompileOptions *o)
{
    if (c->checkpoint || !needs_checkpoint(&c->emitted.plan))
        return true;
    diag_file_error(&c->diags, "E0651", o->model, NULL, "the model has weights, but no checkpoint was given");
    return false;
}

static bool pack(Compilation *c, const CompileOptions *o, const Plan *plan)
{
    int threads = o->threads > 0 ? o->threads : pool_cpus();
    return has_checkpoint(c, o) && pack_weights(&c->cx, c->checkpoint, plan, threads, &c->packed);
}

bool compile_build(Compilation *c, const CompileOptions *o)
{
    assert(c->emitted.text);
    const Plan *plan = &c->emitted.plan;
    if (!has_checkpoint(c, o))
        return false;
    const Target *target = compile_target(c, o);
    if (!target_runs_here(target)) {
        Diag *d = diag_file_error(&c->diags, "E0851", NULL, NULL, "this machine cannot run code for `%s`: %s", target->name, target->machines);
        diag_help(d, "`attar emit --target %s` prints the C for it; without --target it is made for this machine, %s", target->name, target_native()->name);
        return false;
    }
    JitOptions jit = o->jit;
    jit.flags = target->flags;
    c->jit = jit_compile(&c->cx, c->emitted.units, c->emitted.n_units, &jit, &c->jit_stats);
    if (!c->jit)
        return false;
    compile_stage(c, "build");
    c->program.plan = plan;
    if (!find_function(c, "run", &c->program.run) || !find_function(c, "arena_bytes", &c->program.arena_bytes))
        return false;
    compile_stage(c, "functions");
    if (!pack(c, o, plan))
        return false;
    compile_stage(c, "pack");
    c->program.weights = c->packed.data;
    c->program.rows = c->packed.rows;
    return true;
}

bool compile_all(Compilation *c, const CompileOptions *o)
{
    return compile_load(c, o) && compile_passes(c, o) && compile_emit(c, o) && compile_build(c, o);
}

void compile_free(Compilation *c)
{
    if (c->packed.data)
        pack_free(&c->packed);
    if (c->jit)
        jit_free(c->jit);
    if (c->checkpoint)
        checkpoint_close(c->checkpoint);
    adapters_close(&c->adapters);
    if (c->config)
        json_decref(c->config);
    for (int i = 0; i < c->n_other_configs; i++)
        json_decref(c->other_configs[i]);
    arena_free(&c->arena);
    memset(c, 0, sizeof *c);
}
