/* The parser: trees of expressions, statements and declarations; newlines; recovery; hostile text; random damage. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"

typedef struct Parsed {
    Arena arena;
    Diags diags;
    Names names;
    Context cx;
    Source source;
    File *file;
} Parsed;

static Parsed *parse_bytes(const char *text, size_t size)
{
    Parsed *p = calloc(1, sizeof *p);
    p->diags.arena = &p->arena;
    p->names.map = map_new(&p->arena);
    p->cx = (Context){&p->arena, &p->diags, &p->names};
    char *exact = malloc(size + 1);
    memcpy(exact, text, size);
    exact[size] = 0;
    p->source = (Source){"test.attar", exact, size};
    p->file = parse_file(&p->cx, &p->source);
    ck_assert_ptr_nonnull(p->file);
    return p;
}

static Parsed *parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void done(Parsed *p)
{
    arena_free(&p->arena);
    free((char *)p->source.text);
    free(p);
}

static void expect_clean(Parsed *p)
{
    Text t = text_new(&p->arena);
    diag_render(&p->diags, &t, false);
    ck_assert_msg(!p->diags.first, "%s", t.data);
}

/* ---- the tree as text ------------------------------------------------------------------------------------------------------------------ */

static void show(Text *t, const Expr *e);

static void show_list(Text *t, Expr *const *items, int n)
{
    for (int i = 0; i < n; i++) {
        if (i)
            text_char(t, ' ');
        show(t, items[i]);
    }
}

static void show_type(Text *t, const TypeExpr *type)
{
    text_add(t, "%s", type->dtype.text ? type->dtype.text : "");
    if (!type->has_axes)
        return;
    text_char(t, '<');
    show_list(t, type->axes, type->n_axes);
    text_char(t, '>');
}

static void show_op(Text *t, int op)
{
    static const char *const names[] = {"<=", ">=", "==", "!=", "??", ".."};
    if (op >= OP2_LE)
        text_add(t, "%s", names[op - OP2_LE]);
    else
        text_char(t, (char)op);
}

static void show_args(Text *t, const Arg *args, int n)
{
    for (int i = 0; i < n; i++) {
        text_char(t, ' ');
        if (args[i].name.text)
            text_add(t, "%s=", args[i].name.text);
        show(t, args[i].value);
    }
}

static void show(Text *t, const Expr *e)
{
    switch (e->kind) {
    case EXPR_NAME: text_add(t, "%s", e->text); break;
    case EXPR_NUMBER:
        ck_assert(e->is_float || e->number == (double)e->integer);
        if (!e->is_float) {
            text_add(t, "%lld", (long long)e->integer);
            break;
        }
        text_char(t, 'f');
        text_double(t, e->number);
        break;
    case EXPR_TEXT: text_add(t, "'%s'", e->text); break;
    case EXPR_TRUE: text_add(t, "true"); break;
    case EXPR_FALSE: text_add(t, "false"); break;
    case EXPR_NONE: text_add(t, "none"); break;
    case EXPR_STAR: text_add(t, "*"); break;
    case EXPR_TUPLE:
        text_add(t, "(tuple ");
        show_list(t, e->items, e->n_items);
        text_char(t, ')');
        break;
    case EXPR_LIST:
        text_add(t, "(list ");
        show_list(t, e->items, e->n_items);
        text_char(t, ')');
        break;
    case EXPR_UNARY:
        text_char(t, '(');
        show_op(t, e->op);
        text_char(t, ' ');
        show(t, e->left);
        text_char(t, ')');
        break;
    case EXPR_BINARY:
        text_char(t, '(');
        show_op(t, e->op);
        text_char(t, ' ');
        show(t, e->left);
        text_char(t, ' ');
        show(t, e->right);
        text_char(t, ')');
        break;
    case EXPR_AS:
        text_add(t, "(as ");
        show(t, e->left);
        text_char(t, ' ');
        show_type(t, e->type);
        text_char(t, ')');
        break;
    case EXPR_IF:
        text_add(t, "(if ");
        show_list(t, e->items, 3);
        text_char(t, ')');
        break;
    case EXPR_FN:
        text_add(t, "(fn");
        for (int i = 0; i < e->n_params; i++)
            text_add(t, " %s", e->params[i].name.text);
        for (int i = 0; i < e->n_params; i++)
            if (e->params[i].value) {
                text_add(t, " %s=", e->params[i].name.text);
                show(t, e->params[i].value);
            }
        text_add(t, " => ");
        show(t, e->left);
        text_char(t, ')');
        break;
    case EXPR_CALL:
        text_add(t, "(call ");
        show(t, e->left);
        show_args(t, e->args, e->n_args);
        text_char(t, ')');
        break;
    case EXPR_INDEX:
        text_add(t, "(index ");
        show(t, e->left);
        text_char(t, ' ');
        show_list(t, e->items, e->n_items);
        text_char(t, ')');
        break;
    case EXPR_FIELD:
        text_add(t, "(. ");
        show(t, e->left);
        text_add(t, " %s)", e->text);
        break;
    case EXPR_PIPE:
        text_add(t, "(|> ");
        show(t, e->left);
        text_char(t, ' ');
        show(t, e->right);
        text_char(t, ')');
        break;
    case EXPR_SCOPED: text_add(t, "'%s'::%s", e->scope, e->text); break;
    case EXPR_ERROR: text_add(t, "error"); break;
    }
}

static void show_body(Text *t, const Body *b);

static void show_stmt(Text *t, const Stmt *s)
{
    for (int i = 0; i < s->n_annotations; i++) {
        text_add(t, "@%s", s->annotations[i].name.text);
        show_args(t, s->annotations[i].args, s->annotations[i].n_args);
        text_char(t, ' ');
    }
    for (int i = 0; i < s->n_targets; i++) {
        text_add(t, "%s%s", i ? "," : "", s->targets[i].name.text);
        if (s->targets[i].type) {
            text_char(t, ':');
            show_type(t, s->targets[i].type);
        }
    }
    static const char *const words[] = {"=", "repeat", "at", "if", "assert", "return", "error"};
    text_add(t, "%s", words[s->kind]);
    if (s->index.text)
        text_add(t, " %s", s->index.text);
    for (int i = 0; i < s->n_values; i++) {
        text_char(t, ' ');
        show(t, s->values[i]);
    }
    if (s->path)
        text_add(t, " '%s'", s->path);
    if (s->message)
        text_add(t, " '%s'", s->message);
    if (s->body)
        show_body(t, s->body);
    if (s->otherwise) {
        text_add(t, "else");
        show_body(t, s->otherwise);
    }
}

static void show_body(Text *t, const Body *b)
{
    text_char(t, '{');
    for (int i = 0; i < b->n; i++) {
        if (i)
            text_add(t, "; ");
        show_stmt(t, b->items[i]);
    }
    text_char(t, '}');
}

/* ---- expressions --------------------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *text, *tree;
} expressions[] = {
    {"1 + 2 * 3", "(+ 1 (* 2 3))"},
    {"a - b - c", "(- (- a b) c)"},
    {"a / b % c", "(% (/ a b) c)"},
    {"2 ^ 3 ^ 4", "(^ 2 (^ 3 4))"},
    {"-x ^ 2", "(- (^ x 2))"},
    {"x ^ -0.5", "(^ x (- f0.5))"},
    {"x ^ -2 * y", "(* (^ x (- 2)) y)"},
    {"!a & b | c", "(| (& (! a) b) c)"},
    {"a & b == c", "(& a (== b c))"},
    {"j <= i & d[b, i] == d[b, j]", "(& (<= j i) (== (index d b i) (index d b j)))"},
    {"a ?? b ?? 1.0", "(?? (?? a b) f1)"},
    {"a.b.c ?? none", "(?? (. (. a b) c) none)"},
    {"0..S + 1", "(.. 0 (+ S 1))"},
    {"T - S..T", "(.. (- T S) T)"},
    {"0..S", "(.. 0 S)"},
    {"x as [B, S, 1]", "(as x <B S 1>)"},
    {"x * y as f32[B]", "(* x (as y f32<B>))"},
    {"-x as f32", "(as (- x) f32)"},
    {"x |> f(1) |> g()", "(|> (|> x (call f 1)) (call g))"},
    {"if a then b else c |> f()", "(|> (if a b c) (call f))"},
    {"if a then b else c ?? d", "(if a b (?? c d))"},
    {"if a then if b then c else d else e", "(if a (if b c d) e)"},
    {"fn(i, j) => i < j & true", "(fn i j => (& (< i j) true))"},
    {"fn() => fn(w, eps=1.0 + x) => w", "(fn => (fn w eps eps=(+ f1 x) => w))"},
    {"fn(i) => i |> f()", "(|> (fn i => i) (call f))"},
    {"(a, b)", "(tuple a b)"},
    {"(a)", "a"},
    {"[a, (b, c)]", "(list a (tuple b c))"},
    {"f(x, \"n\", in=(H, K), out=D)", "(call f x 'n' in=(tuple H K) out=D)"},
    {"kv[i].append(k, v)", "(call (. (index kv i) append) k v)"},
    {"\"a.{i}\"::Attn(x)(y)", "(call (call 'a.{i}'::Attn x) y)"},
    {"\"q\\\"\\\\\\n\\t\"", "'q\"\\\n\t'"},
    {"1e-12", "f1e-12"},
    {"10000.0", "f10000"},
    {"9223372036854775807", "9223372036854775807"},
    {"0.5 * x * (1 + erf(x * 0.7071067811865476))", "(* (* f0.5 x) (+ 1 (call erf (* x f0.7071067811865476))))"},
    {"a != none", "(!= a none)"},
    {"f(\n  a,\n  b\n)", "(call f a b)"},
    {"a +\n  b", "(+ a b)"},
    {"a\n  |> f()\n\n  # comment\n  |> g()", "(|> (|> a (call f)) (call g))"},
    {"(a\n + b)", "(+ a b)"},
    {"[a\n , b]", "(list a b)"},
};

START_TEST(expression_trees)
{
    Text text = {0};
    Parsed *p = NULL;
    Arena a = {0};
    text = text_new(&a);
    text_add(&text, "let v = %s\n", expressions[_i].text);
    p = parse(text.data);
    expect_clean(p);
    ck_assert_int_eq(p->file->n_decls, 1);
    const Decl *d = &p->file->decls[0];
    ck_assert_int_eq(d->kind, DECL_LET);
    ck_assert_str_eq(d->bindings[0].name.text, "v");
    Text t = text_new(&p->arena);
    show(&t, d->bindings[0].value);
    ck_assert_str_eq(t.data, expressions[_i].tree);
    arena_free(&a);
    done(p);
}
END_TEST

/* ---- statements -------------------------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *text, *tree;
} bodies[] = {
    {"", "{}"},
    {"return x", "{return x}"},
    {"\n\n  return x, y\n\n", "{return x y}"},
    {"a = 1; b = 2", "{a= 1; b= 2}"},
    {";;a = 1;;", "{a= 1}"},
    {"k, v = kv[i].append(k, v)", "{k,v= (call (. (index kv i) append) k v)}"},
    {"q: f32[B, *], r: [T <= P] = x", "{q:f32<B *>,r:<(<= T P)>= x}"},
    {"repeat i < L { x = f(x) }", "{repeat i L{x= (call f x)}}"},
    {"repeat i < L - 1 at \"layers.{i}\" { x = f(x, i) }", "{repeat i (- L 1) 'layers.{i}'{x= (call f x i)}}"},
    {"repeat i in 1..L { x = f(x) }", "{repeat i (.. 1 L){x= (call f x)}}"},
    {"repeat i in a+1..L-1 at \"layers.{2*i+1}\" { x = f(x) }",
     "{repeat i (.. (+ a 1) (- L 1)) 'layers.{2*i+1}'{x= (call f x)}}"},
    {"at \"attention\" {\n q = x\n}\nreturn q", "{at 'attention'{q= x}; return q}"},
    {"if a { x = 1 }", "{if a{x= 1}}"},
    {"if a {\n x = 1\n} else {\n x = 2\n}", "{if a{x= 1}else{x= 2}}"},
    {"if a { x = 1 } else if b { x = 2 } else { x = 3 }", "{if a{x= 1}else{if b{x= 2}else{x= 3}}}"},
    {"assert H % G == 0, \"heads\"", "{assert (== (% H G) 0) 'heads'}"},
    {"assert S <= P", "{assert (<= S P)}"},
    {"@keep\nx = 1", "{@keep x= 1}"},
    {"@fuse(off) @must\n\n@linearize(performer, features=256)\n# why\nx = 1",
     "{@fuse off @must @linearize performer features=256 x= 1}"},
    {"@keep x = 1", "{@keep x= 1}"},
};

START_TEST(statement_trees)
{
    Arena a = {0};
    Text text = text_new(&a);
    text_add(&text, "block A(x: [B, S], eps=1e-5, f: text = \"a\") -> (y: [B], f32[S]) {%s}", bodies[_i].text);
    Parsed *p = parse(text.data);
    expect_clean(p);
    const Decl *d = &p->file->decls[0];
    ck_assert_int_eq(d->kind, DECL_BLOCK);
    ck_assert_str_eq(d->name.text, "A");
    ck_assert_int_eq(d->n_params, 3);
    ck_assert_ptr_null(d->params[0].value);
    ck_assert_ptr_null(d->params[1].type);
    ck_assert_str_eq(d->params[2].type->dtype.text, "text");
    ck_assert_int_eq(d->params[2].value->kind, EXPR_TEXT);
    ck_assert_int_eq(d->n_results, 2);
    ck_assert_str_eq(d->results[0].name.text, "y");
    ck_assert_ptr_null(d->results[1].name.text);
    Text t = text_new(&p->arena);
    show_body(&t, d->body);
    ck_assert_str_eq(t.data, bodies[_i].tree);
    arena_free(&a);
    done(p);
}
END_TEST

START_TEST(declarations)
{
    Parsed *p = parse("use \"blocks/norms.attar\"\nconfig \"config.json\" {\n D = hidden_size; L = n.layers ?? 3\n\n K = D / H }\n"
                      "let q = 1 ; default linear(bias=true, 3)\n"
                      "cache kv[L] { k: [B, T <= P]; v: f32[B, 1] }\ncache one[1] {\n a: [B]\n}\n"
                      "names gguf {\n \"a.{i}\" => \"b.{i}\"\n \"c\" => none; }\nignore \"x\", \"y.z\"\n"
                      "model M(ids: i32[B, S]) -> f32[B, S] { return ids }\n"
                      "model N(w \"0.w\": f32[D], g: f32[D]) -> (\"next.w\": f32[D], m: f32[D]) { return w, g }\n# end");
    expect_clean(p);
    const Decl *d = p->file->decls;
    ck_assert_int_eq(p->file->n_decls, 10);
    ck_assert_int_eq(d->kind, DECL_USE);
    ck_assert_str_eq(d->path, "blocks/norms.attar");
    d++;
    ck_assert_int_eq(d[0].kind, DECL_CONFIG);
    ck_assert_str_eq(d[0].path, "config.json");
    ck_assert_int_eq(d[0].n_bindings, 3);
    ck_assert_str_eq(d[0].bindings[2].name.text, "K");
    ck_assert_int_eq(d[2].kind, DECL_DEFAULT);
    ck_assert_str_eq(d[2].name.text, "linear");
    ck_assert_str_eq(d[2].args[0].name.text, "bias");
    ck_assert_ptr_null(d[2].args[1].name.text);
    ck_assert_int_eq(d[3].kind, DECL_CACHE);
    ck_assert_int_eq(d[3].n_fields, 2);
    ck_assert_int_eq(d[3].count->kind, EXPR_NAME);
    ck_assert_int_eq(d[3].fields[0].type->axes[1]->op, OP2_LE);
    ck_assert_int_eq(d[5].kind, DECL_NAMES);
    ck_assert_int_eq(d[5].n_renames, 2);
    ck_assert_str_eq(d[5].renames[0].to, "b.{i}");
    ck_assert_ptr_null(d[5].renames[1].to);
    ck_assert_int_eq(d[6].kind, DECL_IGNORE);
    ck_assert_str_eq(d[6].renames[1].from, "y.z");
    ck_assert_int_eq(d[7].kind, DECL_MODEL);
    ck_assert_ptr_null(d[7].params[0].quoted.text);
    ck_assert_str_eq(d[8].params[0].name.text, "w");
    ck_assert_str_eq(d[8].params[0].quoted.text, "0.w");
    ck_assert_ptr_null(d[8].params[1].quoted.text);
    ck_assert_str_eq(d[8].results[0].name.text, "next.w");
    ck_assert(d[8].results[0].quoted && !d[8].results[1].quoted);
    done(p);
}
END_TEST

/* ---- places ------------------------------------------------------------------------------------------------------------------------------ */

static void check_span(Span at, const char *want)
{
    ck_assert_uint_eq(at.end - at.begin, strlen(want));
    ck_assert_msg(strncmp(at.source->text + at.begin, want, strlen(want)) == 0, "want %s at %u", want, at.begin);
}

START_TEST(spans)
{
    Parsed *p = parse("# c\nlet v = foo.bar(a + (b * c), n=2)[i] |> \"p\"::G(x)\n");
    expect_clean(p);
    const Decl *d = &p->file->decls[0];
    check_span(d->at, "let v = foo.bar(a + (b * c), n=2)[i] |> \"p\"::G(x)");
    check_span(d->bindings[0].name.at, "v");
    const Expr *pipe = d->bindings[0].value;
    check_span(pipe->at, "foo.bar(a + (b * c), n=2)[i] |> \"p\"::G(x)");
    check_span(pipe->op_at, "|>");
    check_span(pipe->right->op_at, "G");
    const Expr *call = pipe->left->left;
    check_span(call->at, "foo.bar(a + (b * c), n=2)");
    check_span(call->op_at, "bar");
    check_span(call->args[0].value->at, "a + (b * c)");
    check_span(call->args[0].value->op_at, "+");
    check_span(call->args[0].value->right->at, "b * c");
    check_span(call->args[1].name.at, "n");
    LineColumn at = span_start(call->args[1].name.at);
    ck_assert_int_eq(at.line, 2);
    ck_assert_int_eq(at.column, 30);
    done(p);
}
END_TEST

START_TEST(names_are_interned)
{
    Parsed *p = parse("let abc = abc.abc(abc=1)\n");
    expect_clean(p);
    const Expr *call = p->file->decls[0].bindings[0].value;
    const char *abc = name_of(&p->names, "abc");
    ck_assert_ptr_eq(p->file->decls[0].bindings[0].name.text, abc);
    ck_assert_ptr_eq(call->left->text, abc);
    ck_assert_ptr_eq(call->left->left->text, abc);
    ck_assert_ptr_eq(call->args[0].name.text, abc);
    done(p);
}
END_TEST

/* ---- recovery ---------------------------------------------------------------------------------------------------------------------------- */

START_TEST(recovery_keeps_the_rest)
{
    Parsed *p = parse("let a = = 1\nlet b = 2\nblock X(q) -> [B] {\n return q\n}\n"
                      "block Y(x: [B]) -> [B] {\n  y = ? x x\n  if z ] { w = 1 }\n  v = 3\n  return v\n}\ncache kv[L] "
                      "{ k [B]; v: [B] }\nlet c = 4\n");
    const Decl *d = p->file->decls;
    ck_assert_int_eq(p->file->n_decls, 6);
    ck_assert_int_eq(d[0].kind, DECL_LET);
    ck_assert_int_eq(d[0].bindings[0].value->kind, EXPR_ERROR);
    ck_assert_int_eq(d[1].kind, DECL_LET);
    ck_assert_int_eq(d[2].kind, DECL_ERROR);
    ck_assert_str_eq(d[2].name.text, "X");
    ck_assert_int_eq(d[3].kind, DECL_BLOCK);
    Text t = text_new(&p->arena);
    show_body(&t, d[3].body);
    ck_assert_str_eq(t.data, "{yerror; if z{w= 1}; v= 3; return v}");
    ck_assert_int_eq(d[4].kind, DECL_CACHE);
    ck_assert_int_eq(d[4].n_fields, 1);
    ck_assert_int_eq(d[5].kind, DECL_LET);
    ck_assert_int_eq(p->diags.errors, 5);
    done(p);
}
END_TEST

static const struct {
    const char *code, *text;
} slips[] = {
    {"E0110", "if a = 1 {\n x = 1\n}\nreturn x"},
    {"E0112", "if a {\n x = 1\n}\nelse {\n x = 2\n}\nreturn x"},
    {"E0111", "x = f(a, (b, c)\nreturn x"},
    {"E0111", "x = f(a]\nreturn x"},
    {"E0113", "x = a ** 2\nreturn x"},
    {"E0113", "if a:\n   x = 1\nreturn x"},
    {"E0113", "while a {\n x = 1\n}\nreturn x"},
    {"E0109", "repeat = 1\nreturn x"},
    {"E0101", "x +\nreturn x"},
    {"E0101", "f(x)\nreturn x"},
    {"E0104", "x = a \xe2\x89\xa4 b\nreturn x"},
    {"E0102", "x = f(\"abc, (d)\nreturn x"},
};

/* Each slip costs one message, and the `return` behind it is still there. */
START_TEST(one_slip_one_message)
{
    Arena a = {0};
    Text text = text_new(&a);
    text_add(&text, "block A(x: [B]) -> [B] {\n%s\n}\nlet after = 1\n", slips[_i].text);
    Parsed *p = parse(text.data);
    Text t = text_new(&p->arena);
    diag_render(&p->diags, &t, false);
    ck_assert_msg(p->diags.errors == 1, "%s", t.data);
    ck_assert_str_eq(p->diags.first->code, slips[_i].code);
    ck_assert_int_eq(p->file->n_decls, 2);
    const Body *b = p->file->decls[0].body;
    ck_assert_int_ge(b->n, 1);
    ck_assert_int_eq(b->items[b->n - 1]->kind, STMT_RETURN);
    arena_free(&a);
    done(p);
}
END_TEST

/* ---- hostile text ------------------------------------------------------------------------------------------------------------------------ */

typedef struct Repeated {
    const char *begin, *part;
    int times;
    const char *end, *code;
} Repeated;

static const Repeated hostile[] = {
    {"", "", 0, "", NULL},
    {"\n", " # \n", 1000, "", NULL},
    {"\xef\xbb\xbf", "let a = 1\n", 1, "", NULL},
    {"", "let a = 1\r\nlet b = [1,\r\n 2]\r\n", 1, "", NULL},
    {"let a = 1\r", "", 0, "let b = 2\n", "E0104"},
    {"let a = \xff", "", 0, "\n", "E0104"},
    {"# \xc3", "", 0, "\n", "E0104"},
    {"# \xed\xa0\x80", "", 0, "\n", "E0104"},
    {"let ", "a", 100000, " = 1\n", "E0105"},
    {"let x = \"abc", "", 0, "\n", "E0102"},
    {"let x = \"abc\\", "", 0, "", "E0102"},
    {"let x = \"a\\qb\"", "", 0, "\n", "E0103"},
    {"let x = ", "(", 300, "1\n", "E0108"},
    {"let x = ", "[", 256, "1\n", "E0111"},
    {"", "{", 300, "", "E0108"},
    {"let x = ", "!", 20000, "true\n", "E0108"},
    {"let x = ", "-", 600, "1\n", "E0108"},
    {"let x = ", "-", 500, "1\n", NULL},
    {"let x = ", "if a then b else ", 15000, "c\n", "E0108"},
    {"let x = 1", " + 1", 100000, "\n", NULL},
    {"let x = 1", " + 1 * 2 - 3", 30000, "\n", NULL},
    {"let x = y", " |> f()", 50000, "\n", NULL},
    {"let x = y", "[0]", 1000, "\n", "E0108"},
    {"let x = 2", "^2", 20000, "\n", "E0108"},
    {"block A(x: [B]) -> [B] { if a { b = 1 }", " else if a { b = 1 }", 15000, "\n}\n", "E0108"},
    {"let x = 1e999\n", "", 0, "", "E0106"},
    {"let x = 0x\n", "", 0, "", "E0106"},
    {"let x = ", "9", 400, "\n", "E0106"},
    {"let x = 0.", "9", 4000, "\n", NULL},
    {"let at = 1\n", "", 0, "", "E0109"},
    {"let d\xd0\xb0ta = 1\n", "", 0, "", "E0104"},
    {"let a = \"x\xe2\x80\xaey\"\n", "", 0, "", "E0104"},
    {"# ", "x", (1 << 20) + 1, "\n", "E0100"},
    {"", ")", 50000, "", "E0111"},
    {"", "let = 1\n", 20000, "", "E0109"},
    {"let x ", "= a ", 50000, "\n", "E0110"},
    {"", "a ", 100000, "\n", "E0101"},
    {"", "\"", 100001, "\n", "E0102"},
    {"", "f(\n", 250, "", "E0111"},
    {"", "let x = 1;", 100000, "", NULL},
};

START_TEST(hostile_text)
{
    const Repeated *h = &hostile[_i];
    Arena a = {0};
    Text t = text_new(&a);
    text_add(&t, "%s", h->begin);
    for (int i = 0; i < h->times; i++)
        text_put(&t, h->part, strlen(h->part));
    text_add(&t, "%s", h->end);
    Parsed *p = parse_bytes(t.data, t.length);
    if (!h->code)
        expect_clean(p);
    else {
        ck_assert_ptr_nonnull(p->diags.first);
        ck_assert_str_eq(p->diags.first->code, h->code);
    }
    Text rendered = text_new(&p->arena);
    diag_render(&p->diags, &rendered, false);
    ck_assert_uint_lt(rendered.length, 20000);
    arena_free(&a);
    done(p);
}
END_TEST

START_TEST(nul_bytes)
{
    static const char text[] = "let a = 1\0\nlet b = 2\n";
    Parsed *p = parse_bytes(text, sizeof text - 1);
    ck_assert_int_eq(p->diags.errors, 1);
    ck_assert_str_eq(p->diags.first->code, "E0104");
    ck_assert_uint_eq(p->diags.first->at.begin, 9);
    done(p);
}
END_TEST

static int height(const Expr *e)
{
    int h = 0;
    for (; e->kind == EXPR_BINARY || e->kind == EXPR_PIPE; e = e->left) {
        int right = height(e->right);
        h = right > h ? right : h;
    }
    return h + 1;
}

START_TEST(long_chains_have_no_height)
{
    Arena a = {0};
    Text t = text_new(&a);
    text_add(&t, "let x = 1");
    for (int i = 0; i < 100000; i++)
        text_add(&t, i % 3 ? " + 1" : " * 2");
    Parsed *p = parse(t.data);
    expect_clean(p);
    const Expr *e = p->file->decls[0].bindings[0].value;
    ck_assert_int_le(e->depth, 8);
    ck_assert_int_le(height(e), 8);
    arena_free(&a);
    done(p);
}
END_TEST

/* ---- model files, whole and damaged -------------------------------------------------------------------------------------------------------- */

enum { MOST_FILES = 64 };
static char *files[MOST_FILES];
static size_t sizes[MOST_FILES];
static int n_files;

static void read_files(const char *folder)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && n_files < MOST_FILES && (e = readdir(dir)) != NULL;) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".attar") != 0)
            continue;
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "rb");
        if (!f)
            continue;
        files[n_files] = calloc(1, 1 << 16);
        sizes[n_files] = fread(files[n_files], 1, (1 << 16) - 1, f);
        fclose(f);
        n_files++;
    }
    if (dir)
        closedir(dir);
}

START_TEST(model_files_parse)
{
    ck_assert_int_ge(n_files, 7);
    for (int i = 0; i < n_files; i++) {
        Parsed *p = parse_bytes(files[i], sizes[i]);
        expect_clean(p);
        ck_assert_int_gt(p->file->n_decls, 0);
        done(p);
    }
}
END_TEST

static uint32_t draw(uint64_t *state, size_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % (below ? below : 1));
}

/* One to four changes: a byte, a stretch cut out, doubled, or moved from elsewhere, or a token of the language put in. */
static size_t damage(uint64_t *state, char *text, size_t size, size_t room)
{
    static const char *const tokens[] = {
        "(",      ")",  "[",  "]", "{",  "}", "\n", ";", "=", "==", ",",        ":",   "else", "if", "block ",
        "return", "\"", "|>", "@", "..", "1", "\\", "#", "'", "\t", "\xc3\xa9", "fn(", "none", "**", "def f(x):\n  y",
        ":\n"};
    for (uint32_t n = 1 + draw(state, 4); n > 0; n--) {
        char stretch[32];
        size_t at = draw(state, size + 1), length = draw(state, 30), from = draw(state, size + 1);
        if (at + length > size)
            length = size - at;
        const char *token = tokens[draw(state, sizeof tokens / sizeof *tokens)];
        switch (draw(state, 4)) {
        case 0:
            if (at < size)
                text[at] = (char)(32 + draw(state, 95));
            continue;
        case 1:
            memmove(text + at, text + at + length, size - at - length);
            size -= length;
            continue;
        case 2:
            if (from + length > size || size + length > room)
                continue;
            memcpy(stretch, text + from, length);
            memmove(text + at + length, text + at, size - at);
            memcpy(text + at, stretch, length);
            size += length;
            continue;
        default:
            if (size + strlen(token) > room)
                continue;
            memmove(text + at + strlen(token), text + at, size - at);
            memcpy(text + at, token, strlen(token));
            size += strlen(token);
        }
    }
    return size;
}

static void check_diags(const Parsed *p)
{
    for (const Diag *d = p->diags.first; d; d = d->next) {
        ck_assert_ptr_eq(d->at.source, &p->source);
        ck_assert_uint_le(d->at.begin, d->at.end);
        ck_assert_uint_le(d->at.end, p->source.size);
        ck_assert_ptr_null(strstr(d->message, "T_"));
    }
}

static bool poisoned(const Body *b);

static bool stmt_poisoned(const Stmt *s)
{
    return s->kind == STMT_ERROR || (s->body && poisoned(s->body)) || (s->otherwise && poisoned(s->otherwise));
}

static bool poisoned(const Body *b)
{
    for (int i = 0; i < b->n; i++)
        if (stmt_poisoned(b->items[i]))
            return true;
    return false;
}

/* Damage is survived; places lie inside the text; nothing is poisoned without a message. */
START_TEST(damaged_files)
{
    uint64_t state = 0x9e3779b97f4a7c15u + (uint64_t)_i;
    for (int round = 0; round < 250; round++) {
        char text[1 << 14];
        int which = (int)draw(&state, (size_t)n_files);
        size_t size = sizes[which] < sizeof text / 2 ? sizes[which] : sizeof text / 2;
        memcpy(text, files[which], size);
        size = damage(&state, text, size, sizeof text);
        Parsed *p = parse_bytes(text, size);
        check_diags(p);
        for (int i = 0; i < p->file->n_decls; i++) {
            const Decl *d = &p->file->decls[i];
            if (d->kind == DECL_ERROR || (d->body && poisoned(d->body)))
                ck_assert_int_gt(p->diags.errors, 0);
        }
        Text t = text_new(&p->arena);
        diag_render(&p->diags, &t, false);
        diag_render_json(&p->diags, &t);
        done(p);
    }
}
END_TEST

/* One character of the grammar left out, everywhere: a mistake costs little more than one message. */
START_TEST(one_character_less)
{
    int mistakes = 0, messages = 0;
    for (int i = 0; i < n_files; i++)
        for (size_t at = 0; at < sizes[i]; at++) {
            if (!strchr("(){}[]=,:\"<>@.+*;|&!", files[i][at]))
                continue;
            char *text = malloc(sizes[i]);
            memcpy(text, files[i], at);
            memcpy(text + at, files[i] + at + 1, sizes[i] - at - 1);
            Parsed *p = parse_bytes(text, sizes[i] - 1);
            mistakes += p->diags.errors > 0;
            messages += p->diags.errors;
            ck_assert_msg(p->diags.errors <= 3, "%d messages about one missing `%c`:\n%s", p->diags.errors,
                          files[i][at], text);
            free(text);
            done(p);
        }
    ck_assert_int_gt(mistakes, 1000);
    ck_assert_msg(messages * 10 <= mistakes * 12, "%d messages for %d mistakes", messages, mistakes);
}
END_TEST

int main(void)
{
    read_files(SOURCE_DIR "/tests/frontend/cases");
    read_files(SOURCE_DIR "/models");
    Suite *s = suite_create("parser");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, expression_trees, 0, sizeof expressions / sizeof *expressions);
    tcase_add_loop_test(c, statement_trees, 0, sizeof bodies / sizeof *bodies);
    tcase_add_test(c, declarations);
    tcase_add_test(c, spans);
    tcase_add_test(c, names_are_interned);
    tcase_add_test(c, recovery_keeps_the_rest);
    tcase_add_loop_test(c, one_slip_one_message, 0, sizeof slips / sizeof *slips);
    tcase_add_loop_test(c, hostile_text, 0, sizeof hostile / sizeof *hostile);
    tcase_add_test(c, nul_bytes);
    tcase_add_test(c, long_chains_have_no_height);
    tcase_add_test(c, model_files_parse);
    tcase_add_loop_test(c, damaged_files, 0, 12);
    tcase_add_test(c, one_character_less);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    for (int i = 0; i < n_files; i++)
        free(files[i]);
    return failed != 0;
}
