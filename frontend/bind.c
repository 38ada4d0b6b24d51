/* Loading a model: parse it and std.attar, bind declarations in order, run the model's body, tidy the graph,
 * check the checkpoint. */
#include "bind.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* ---- what all parts use ----------------------------------------------------------------------------------------- */

void *bind_new(Bind *b, size_t size)
{
    return arena_alloc(b->cx->arena, size);
}

char *bind_print(Bind *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = arena_vprint(b->cx->arena, format, args);
    va_end(args);
    return text;
}

bool bind_in_library(const Bind *b, Span at)
{
    return b->library && at.source && at.source == b->library->source;
}

Span bind_site(const Bind *b)
{
    return bind_in_library(b, b->at) ? b->site : b->at;
}

/* The same of the same line: a block that is called twice, a value that is used twice. */
static bool said_before(const Bind *b, const char *code, Span at, const char *message)
{
    for (const Diag *d = b->cx->diags->first; d && at.source; d = d->next)
        if (d->at.source == at.source && !strcmp(d->code, code) && !strcmp(d->message, message) &&
            span_start(d->at).line == span_start(at).line)
            return true;
    return false;
}

Diag *bind_error(Bind *b, const char *code, Span at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *message = arena_vprint(b->cx->arena, format, args);
    va_end(args);
    if (b->cx->diags->errors == b->errors_before)
        b->weights_before = b->n_weights;
    bool library = bind_in_library(b, at) && b->site.source;
    const Diag *last = b->cx->diags->last;
    if ((library || bind_in_library(b, b->at)) && last && last->at.source == b->site.source &&
        last->at.begin == b->site.begin && last->at.end == b->site.end)
        return diag_error(&b->muted, code, at, "%s", message); /* one error a call */
    if (said_before(b, code, library ? b->site : at, message))
        return diag_error(&b->muted, code, at, "%s", message);
    Diag *d = diag_error(b->cx->diags, code, library ? b->site : at, "%s", message);
    if (!library)
        return d;
    const Frame *f = b->frame;
    while (f && f->library && f->caller && f->caller->library)
        f = f->caller;
    if (f && f->library)
        diag_note(d, "in `%s`, which std.attar writes as `%s` on line %d", f->decl->name.text,
                  source_text(b, bind_in_library(b, b->at) ? b->at : at), span_start(at).line);
    return d;
}

Symbol *bind_symbol(Bind *b, const char *name, Span at)
{
    Graph *m = b->model;
    Symbol *s = bind_new(b, sizeof *s);
    *s = (Symbol){.name = name_of(b->cx->names, name), .low = 1, .high = SYMBOL_UNBOUNDED, .at = at};
    m->symbols =
        arena_grow(b->cx->arena, m->symbols, (size_t)m->n_symbols, (size_t)m->n_symbols + 1, sizeof *m->symbols);
    m->symbols[m->n_symbols++] = s;
    return s;
}

/* ---- declarations ----------------------------------------------------------------------------------------------- */

/* A name of the interface that is no identifier: what tensors of files are called. */
static void check_quoted(Bind *b, const Decl *d, const Ident *name)
{
    const char *inside = name->text;
    size_t length = strlen(inside);
    while (isalnum((unsigned char)*inside) || (*inside && strchr("_.:/-", *inside)))
        inside++;
    bool whole = length && !*inside && (isalnum((unsigned char)name->text[0]) || name->text[0] == '_') &&
                 (isalnum((unsigned char)name->text[length - 1]) || name->text[length - 1] == '_');
    if (d->kind != DECL_MODEL) {
        Diag *e = bind_error(b, "E0130", name->at, "only a model's inputs and results have names in quotes");
        diag_note(e, "`%s` is a block, whose parameters are known by their own names", d->name.text);
    } else if (!whole) {
        Diag *e = bind_error(b, "E0130", name->at, "an input or a result cannot be called \"%s\"", name->text);
        diag_note(e, "such names are made of letters, digits and _, with . : / - between them");
    }
}

static const char *interface_name(const Param *p)
{
    return p->quoted.text ? p->quoted.text : p->name.text;
}

/* What callers call the inputs and results: fit to be said, and no two the same. */
static void check_interface(Bind *b, const Decl *d)
{
    for (int i = 0; i < d->n_params; i++)
        if (d->params[i].quoted.text)
            check_quoted(b, d, &d->params[i].quoted);
    for (int i = 0; i < d->n_results; i++)
        if (d->results[i].quoted)
            check_quoted(b, d, &d->results[i].name);
    for (int i = 0; i < d->n_params && d->kind == DECL_MODEL; i++)
        for (int k = 0; k < i; k++)
            if (interface_name(&d->params[i]) == interface_name(&d->params[k]) &&
                d->params[i].name.text != d->params[k].name.text)
                diag_label(bind_error(b, "E0121", d->params[i].quoted.text ? d->params[i].quoted.at : d->params[i].name.at,
                                      "two inputs of `%s` are called `%s`", d->name.text, interface_name(&d->params[i])),
                           d->params[k].name.at, "the first one");
    for (int i = 0; i < d->n_results && d->kind == DECL_MODEL; i++)
        for (int k = 0; k < i; k++)
            if (d->results[i].name.text && d->results[i].name.text == d->results[k].name.text)
                diag_label(bind_error(b, "E0121", d->results[i].name.at, "two results of `%s` are called `%s`", d->name.text,
                                      d->results[i].name.text),
                           d->results[k].name.at, "the first one");
}

static void collect_blocks(Bind *b, const File *file, Map *blocks)
{
    for (int i = 0; i < file->n_decls; i++) {
        Decl *d = &file->decls[i];
        if (d->kind != DECL_BLOCK && d->kind != DECL_MODEL)
            continue;
        const Decl *old = map_get(blocks, d->name.text);
        if (old)
            diag_label(bind_error(b, "E0123", d->name.at, "`%s` is declared twice", d->name.text), old->name.at,
                       "`%s` is declared here first", d->name.text);
        else
            map_set(blocks, d->name.text, d);
        for (int p = 0; p < d->n_params; p++)
            for (int q = 0; q < p; q++)
                if (d->params[p].name.text == d->params[q].name.text)
                    bind_error(b, "E0121", d->params[p].name.at, "two parameters of `%s` are called `%s`", d->name.text,
                               d->params[p].name.text);
        check_interface(b, d);
    }
}

static void refuse_default(Bind *b, const Decl *d, const Ident *name, const Decl *target)
{
    const char **names = arena_array(b->cx->arena, (size_t)target->n_params + 1, sizeof *names);
    for (int i = 0; i < target->n_params; i++)
        names[i] = target->params[i].name.text;
    Diag *e = bind_error(b, "E0124", name->at, "`%s` has no parameter `%s`", d->name.text, name->text);
    const char *near = name_nearest(name->text, names, (size_t)target->n_params);
    if (near)
        diag_caret(e, "a similar one exists: `%s`", near);
}

static void bind_default(Bind *b, Decl *d)
{
    const Decl *target = map_get(&b->blocks, d->name.text);
    if (!target)
        target = map_get(&b->library_blocks, d->name.text);
    if (!target) {
        Diag *e = bind_error(b, "E0107", d->name.at, "no block named `%s` takes defaults", d->name.text);
        const char *near = scope_nearest(b, b->library_globals, d->name.text);
        if (near)
            diag_caret(e, "a similar name exists: `%s`", near);
        return;
    }
    for (int i = 0; i < d->n_args; i++) {
        if (d->args[i].name.text && decl_param(target, d->args[i].name.text))
            continue;
        if (d->args[i].name.text)
            refuse_default(b, d, &d->args[i].name, target);
        else
            bind_error(b, "E0124", d->args[i].value->at, "a default needs the parameter's name: NAME=value");
        return;
    }
    const Decl *old = map_get(&b->defaults, d->name.text);
    if (old)
        diag_label(bind_error(b, "E0123", d->name.at, "`%s` has defaults already", d->name.text), old->name.at,
                   "these are the first ones");
    map_set(&b->defaults, d->name.text, d);
}

static void declare_cache(Bind *b, const Decl *d)
{
    CacheDecl *c = bind_new(b, sizeof *c);
    Term t = {.kind = TERM_CACHE};
    c->decl = d;
    t.cache = c;
    map_set(&b->caches, d->name.text, c);
    scope_fix(b, b->globals, d->name, t);
}

static void bind_declarations(Bind *b, const File *file)
{
    for (int i = 0; i < file->n_decls; i++) {
        Decl *d = &file->decls[i];
        switch (d->kind) {
        case DECL_CONFIG:
        case DECL_LET: config_bind(b, d); break;
        case DECL_DEFAULT: bind_default(b, d); break;
        case DECL_CACHE: declare_cache(b, d); break;
        default: break;
        }
    }
}

/* The file's models; *list names them for messages: `a`, `b`. */
static int list_models(Bind *b, Decl **models, const char **list)
{
    Text text = text_new(b->cx->arena);
    int n = 0;
    for (int i = 0; i < b->file->n_decls; i++) {
        if (b->file->decls[i].kind != DECL_MODEL)
            continue;
        text_add(&text, "%s`%s`", n ? ", " : "", b->file->decls[i].name.text);
        models[n++] = &b->file->decls[i];
    }
    *list = text.data;
    return n;
}

/* The model that was asked for, or the only one. */
static const Decl *choose_model(Bind *b)
{
    Decl **models = arena_array(b->cx->arena, (size_t)b->file->n_decls + 1, sizeof *models);
    const char **names = arena_array(b->cx->arena, (size_t)b->file->n_decls + 1, sizeof *names);
    const char *list, *asked = b->options->model;
    int n = list_models(b, models, &list);
    b->n_models = n;
    if (n == 0) {
        diag_error(b->cx->diags, "E0126", (Span){b->file->source, 0, 0}, "the file has no model");
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        names[i] = models[i]->name.text;
        if (asked ? !strcmp(names[i], asked) : n == 1)
            return models[i];
    }
    Diag *d = asked ? bind_error(b, "E0126", models[0]->name.at, "the file has no model `%s`", asked)
                    : bind_error(b, "E0126", models[1]->name.at, "the file has %d models, and none was chosen", n);
    const char *near = asked ? name_nearest(asked, names, (size_t)n) : NULL;
    if (near)
        diag_note(d, "a similar one exists: `%s`", near);
    diag_help(d, n == 1 ? "its model is %s" : "`--model NAME` chooses one: %s", list);
    return NULL;
}

/* ---- the model -------------------------------------------------------------------------------------------------- */

static bool input_axis(Bind *b, Scope *s, const Expr *e, Axis *axis)
{
    if (e->kind == EXPR_NAME && !scope_find(s, e->text)) {
        Symbol *symbol = bind_symbol(b, e->text, e->at);
        Origin *o = bind_new(b, sizeof *o);
        *o = (Origin){.kind = ORIGIN_INPUT, .name = e->text, .at = e->at};
        const char *name = dim_fresh_axis(b, e->text, symbol, extent_symbol(symbol));
        const Dim *d = dim_new(b, e->text, name, extent_symbol(symbol), o);
        scope_fix(b, s, (Ident){e->text, e->at}, term_dim(d));
        *axis = (Axis){name, d->size};
        return true;
    }
    const Dim **dims;
    int n;
    Term t = eval(b, s, e);
    if (!dims_of(b, &t, e, &dims, &n))
        return false;
    if (n != 1)
        bind_error(b, "E0201", e->at, "one axis is needed here, not %s", term_print(b, &t));
    else
        *axis = (Axis){dims[0]->axis, dims[0]->size};
    return n == 1;
}

static bool bind_input(Bind *b, Scope *s, const Param *p)
{
    Type t = {.dtype = DT_F32};
    if (!p->type || (!p->type->has_axes && !p->type->dtype.text)) {
        bind_error(b, "E0126", p->name.at, "an input of the model needs a type: %s: i32[B, S]", p->name.text);
        return false;
    }
    bool known = !p->type->dtype.text || dtype_from_name(p->type->dtype.text, &t.dtype);
    if (!known || (t.dtype != DT_F32 && t.dtype != DT_I32 && t.dtype != DT_BOOL)) {
        Diag *d = bind_error(b, "E0202", p->type->dtype.at, "an input cannot be of type `%s`", p->type->dtype.text);
        diag_help(d, "the types of inputs are f32, i32 and bool");
        return false;
    }
    for (int i = 0; i < p->type->n_axes; i++) {
        Axis a = {0};
        if (p->type->axes[i]->kind == EXPR_STAR) {
            bind_error(b, "E0302", p->type->axes[i]->at, "the axes of the model's inputs need names");
            return false;
        }
        if (!input_axis(b, s, p->type->axes[i], &a) || !type_take(b, p->type->axes[i]->at, &t, a.name, a.size))
            return false;
    }
    b->at = p->name.at;
    b->hint = p->quoted.text ? p->quoted.text : p->name.text;
    Node *n = emit(b, OP_input, type_new(b->cx, t.dtype, t.rank, t.axis), 0, NULL);
    graph_add_param(b->cx, b->model, n);
    scope_set(b, s, p->name.text, term_tensor(n), p->name.at);
    return true;
}

static void add_results(Bind *b, Frame *f, Scope *s)
{
    const Decl *d = f->decl;
    if (!f->returned) {
        bind_error(b, "E0204", d->name.at, "`%s` ends without `return`", d->name.text);
        return;
    }
    if (f->n_results != d->n_results) {
        for (int i = 0; i < f->n_results; i++)
            if (f->results[i].kind == TERM_POISON)
                return;
        Diag *e =
            bind_error(b, "E0203", f->return_at, "`%s` returns %d value%s, but %d %s declared", d->name.text,
                       f->n_results, f->n_results == 1 ? "" : "s", d->n_results, d->n_results == 1 ? "is" : "are");
        diag_label(e, d->name.at, "declared here");
        advise_results(e, d);
        return;
    }
    for (int i = 0; i < d->n_results; i++) {
        const char *name = d->results[i].name.text ? d->results[i].name.text
                           : d->n_results == 1     ? "output"
                                                   : bind_print(b, "output%d", i);
        if (f->results[i].kind == TERM_POISON)
            continue;
        b->at = f->return_at;
        Term t = unify_result(b, f, s, d->results[i].type, f->results[i], f->return_at);
        if (t.kind == TERM_TENSOR)
            graph_add_result(b->cx, b->model, name, t.node, f->return_at);
    }
}

static void run_model(Bind *b, const Decl *d)
{
    Scope *s = scope_open(b, b->globals);
    Frame f = {.decl = d, .call = d->at, .given = arena_array(b->cx->arena, (size_t)d->n_params + 1, sizeof(Given *))};
    bool good = true;
    b->site = d->at;
    for (int i = 0; i < d->n_params; i++)
        good = bind_input(b, s, &d->params[i]) && good;
    if (!good)
        return;
    cache_bind(b, s);
    b->frame = &f;
    b->hint = NULL;
    statement_body(b, s, d->body);
    if (!b->exhausted)
        add_results(b, &f, s);
    if (b->cx->diags->errors == b->errors_before)
        cache_check(b);
    b->frame = NULL;
}

static bool is_map_or_sum(Op op)
{
    OpClass class = op_info[op].class;
    return class == CLASS_MAP || class == CLASS_REDUCE || class == CLASS_ROW || class == CLASS_CONTRACT;
}

/* Values that evaluation made on the way and nobody reads: views, numbers, positions, weights that a slice replaced,
 * and what the library computes for a result that is not asked for. */
static void tidy(Graph *g)
{
    for (Node *n = g->last, *before; n; n = before) {
        before = n->prev;
        if (n->body)
            tidy(n->body);
        bool carries =
            n->op == OP_input || n->op == OP_carry || n->op == OP_index || n->op == OP_repeat || n->op == OP_get;
        bool index = n->op == OP_add && n->inputs[0]->op == OP_index && n->type->rank == 0; /* i of a loop in a..b */
        bool helper = op_info[n->op].class == CLASS_VIEW || index ||
                      (op_info[n->op].class == CLASS_LEAF && n->op != OP_weight) ||
                      (is_map_or_sum(n->op) && n->via.source) ||
                      (n->op == OP_cast && n->inputs[0]->op == OP_table); /* of which one number was looked up */
        if (n->uses || carries || !helper || attr_bool(n, ATTR_keep, false))
            continue;
        for (int i = 0; i < n->n_inputs; i++)
            n->inputs[i]->uses--;
        node_remove(n);
    }
}

static bool finish(Bind *b, Model *out)
{
    const char *why;
    graph_count_uses(b->model);
    tidy(b->model);
    graph_name_all(b->cx, b->model);
    if (b->model->n_results == 0 || !graph_verify(b->cx, b->model, &why)) {
        if (b->model->n_results == 0)
            why = "it has no results";
        diag_error(b->cx->diags, "E9902", (Span){b->file->source, 0, 0},
                   "the model became a graph that is not sound: %s", why);
        return false;
    }
    *out = (Model){.graph = b->model, .keys = b->keys};
    return check_weights(b, out);
}

/* ---- std.attar and the file ------------------------------------------------------------------------------------- */

static bool begin(Bind *b, const Source *source)
{
    Source *library = bind_new(b, sizeof *library);
    *library = (Source){"std.attar", std_attar_text, std_attar_size};
    Arena *a = b->cx->arena;
    b->blocks = map_new(a);
    b->library_blocks = map_new(a);
    b->defaults = map_new(a);
    b->axis_owners = map_new(a);
    b->caches = map_new(a);
    b->marks = map_new(a);
    b->blamed = map_new(a);
    b->path_marks = map_new(a);
    b->unknown = map_new(a);
    b->muted.arena = a;
    b->library_globals = scope_open(b, NULL);
    b->globals = scope_open(b, NULL);
    b->path = "";
    b->rounds = b->count = 1;
    b->config = b->options->config_path ? b->options->config_path : "config.json";
    b->main = (ConfigFile){.name = "config.json", .path = b->config, .json = b->options->config};
    b->other_files = map_new(a);
    b->file = parse_file(b->cx, source);
    use_files(b);
    if (b->cx->diags->errors)
        return false;
    b->library = parse_file(b->cx, library);
    b->model = b->graph = graph_new(b->cx, "model", LEVEL_GRAPH);
    b->model->file = source->path;
    const char *inf = name_of(b->cx->names, "inf");
    scope_set(b, b->library_globals, inf, term_float(INFINITY), (Span){library, 0, 0});
    collect_blocks(b, b->library, &b->library_blocks);
    bind_declarations(b, b->library);
    return b->cx->diags->errors == 0;
}

bool model_load(Context *cx, const Source *source, const ModelOptions *options, Model *out)
{
    Bind bind = {.cx = cx, .options = options}, *b = &bind;
    int before = b->errors_before = cx->diags->errors;
    Diag *last = cx->diags->last;
    *out = (Model){0};
    if (!begin(b, source))
        return false;
    collect_blocks(b, b->file, &b->blocks);
    keys_bind(b);
    const Decl *model = choose_model(b);
    bind_declarations(b, b->file);
    if (!model)
        return false;
    b->model->name = model->name.text;
    run_model(b, model);
    if (cx->diags->errors != before) {
        check_cause(b, last);
        return false;
    }
    return finish(b, out);
}
