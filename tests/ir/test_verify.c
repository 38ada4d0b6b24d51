/* The verifier: a sound graph passes, and each rule refuses the one graph that breaks it, naming node and rule. */
#include "ir_test.h"

static const char sound[] = "kernels T(x: f32[B, S, D], keep: bool[B, S])\n"
                            "  dims    B = 1..64  S = 1..8  past = 0..8  D = 4  F = 6\n"
                            "  cache   kv.k f32[B, T=8, D] grows T x 2\n"
                            "  region  0 = 640 bytes * B * S to 16, bound 600\n"
                            "  w     = weight key=\"w\" stored=[4, 6] strides=[1, 6] : f32[F, D] @weight\n"
                            "  n     = const value=1 : i32\n"
                            "  h     = gemm x, w over=D weights=1 (acc: f32[B, S, F]) {\n"
                            "    g = gelu acc\n"
                            "    return g\n"
                            "  } : f32[B, S, F] @0+0\n"
                            "  a     = append x, n cache=kv.k : f32[B, T=past+S, D] @cache.0\n"
                            "  r     = repeat i < 2 carries y = x, z = x {\n"
                            "    u = transpose y : f32[D, B, S]\n"
                            "    v = transpose u : f32[B, S, D]\n"
                            "    yield z, v\n"
                            "  }\n"
                            "  p     = get r index=1 : f32[B, S, D]\n"
                            "  m     = map x, keep (e: f32[B, S, D], k: bool[B, S]) {\n"
                            "    c = const value=0 : f32\n"
                            "    s = where k, e, c\n"
                            "    t = neg e\n"
                            "    return s, t\n"
                            "  }\n"
                            "  o     = get m index=0 : f32[B, S, D] @output.0\n"
                            "  return o = o, p = p, h = h, a = a\n";

static Node *named_in(Graph *g, const char *name)
{
    for (Node *n = g->first; n; n = n->next) {
        if (!strcmp(n->name, name))
            return n;
        Node *inside = n->body ? named_in(n->body, name) : NULL;
        if (inside)
            return inside;
    }
    return NULL;
}

static Node *named(Bench *t, const char *name)
{
    Node *n = named_in(t->g, name);
    ck_assert_msg(n != NULL, "no node `%s`", name);
    return n;
}

/* ---- one function a broken rule ---------------------------------------------------------------------------------- */

/* clang-format off */
static void later_use(Bench *t) { node_move_before(named(t, "w"), named(t, "a")); }
static void own_use(Bench *t) { Node *a = named(t, "a"); a->inputs[0] = a; }
static void no_input(Bench *t) { named(t, "g")->inputs[0] = NULL; }
static void too_few(Bench *t) { named(t, "u")->n_inputs = 0; }
static void inner_value(Bench *t) { named(t, "o")->graph->results[0].value = named(t, "u"); }
static void outer_in_kernel(Bench *t) { named(t, "t")->inputs[0] = named(t, "x"); }
static void other_body(Bench *t) { named(t, "t")->inputs[0] = named(t, "acc"); }
static void several(Bench *t) { named(t, "p")->op = OP_transpose; }
static void several_returned(Bench *t) { t->g->results[0].value = named(t, "m"); }
static void typed_several(Bench *t) { named(t, "m")->type = named(t, "x")->type; }
static void untyped(Bench *t) { named(t, "v")->type = NULL; }
static void wrong_dtype(Bench *t) { Node *n = named(t, "s"); n->type = type_with_dtype(&t->cx, n->type, DT_I32); }
static void wrong_axis(Bench *t) { Node *n = named(t, "g"); Type c = *n->type; c.axis[2].name = name_of(&t->names, "Q"); n->type = type_new(&t->cx, c.dtype, c.rank, c.axis); }
static void axis_twice(Bench *t) { Node *n = named(t, "x"); Type c = *n->type; c.axis[1].name = c.axis[0].name; n->type = type_new(&t->cx, c.dtype, c.rank, c.axis); }
static void axis_negative(Bench *t) { Node *n = named(t, "x"); Type c = *n->type; c.axis[2].size.base = -1; n->type = type_new(&t->cx, c.dtype, c.rank, c.axis); }
static void axis_unnamed(Bench *t) { Node *n = named(t, "x"); Type c = *n->type; c.axis[2].name = NULL; n->type = type_new(&t->cx, c.dtype, c.rank, c.axis); }
static void undeclared(Bench *t) { t->g->n_symbols--; }
static void wrong_level(Bench *t) { node_new(&t->cx, t->g, OP_param, named(t, "x")->type, 0, NULL); }
static void graph_op_in_kernels(Bench *t) { Node *x = named(t, "x"); node_new(&t->cx, t->g, OP_neg, x->type, 1, &x); }
static void view_in_body(Bench *t) { named(t, "t")->op = OP_transpose; }
static void loose_input(Bench *t) { node_new(&t->cx, t->g, OP_input, named(t, "x")->type, 0, NULL); }
static void loose_carry(Bench *t) { node_new(&t->cx, t->g, OP_carry, named(t, "x")->type, 0, NULL); }
static void no_parameter(Bench *t) { t->g->params[0] = named(t, "w"); }
static void moved_parameter(Bench *t) { attr_set_int(&t->cx, named(t, "k"), ATTR_index, 0); }
static void one_carry_less(Bench *t) { named(t, "u")->graph->n_params--; }
static void one_result_less(Bench *t) { named(t, "u")->graph->n_results--; }
static void carry_changes(Bench *t) { named(t, "u")->graph->results[1].value = named(t, "u"); }
static void no_count(Bench *t) { named(t, "r")->n_attrs = 0; }
static void no_body(Bench *t) { named(t, "h")->body = NULL; }
static void spare_body(Bench *t) { graph_body(&t->cx, named(t, "w"), LEVEL_BODY); }
static void foreign_body(Bench *t) { named(t, "h")->body = named(t, "m")->body; }
static void body_level(Bench *t) { named(t, "h")->body->level = LEVEL_KERNEL; }
static void get_too_far(Bench *t) { attr_set_int(&t->cx, named(t, "o"), ATTR_index, 2); }
static void get_of_one(Bench *t) { named(t, "o")->inputs[0] = named(t, "x"); }
static void same_name(Bench *t) { named(t, "o")->name = named(t, "w")->name; }
static void same_id(Bench *t) { named(t, "o")->id = named(t, "w")->id; }
static void wild_id(Bench *t) { named(t, "o")->id = t->g->next_id; }
static void attr_order(Bench *t) { Node *h = named(t, "h"); Attr a = h->attrs[0]; h->attrs[0] = h->attrs[1]; h->attrs[1] = a; }
static void attr_twice(Bench *t) { Node *h = named(t, "h"); h->attrs[1] = h->attrs[0]; }
static void attr_stray(Bench *t) { attr_set_int(&t->cx, named(t, "w"), ATTR_count, 1); }
static void no_key(Bench *t) { Node *w = named(t, "w"); w->attrs++; w->n_attrs--; }
static void strides_rank(Bench *t) { attr_set_ints(&t->cx, named(t, "w"), ATTR_strides, (int64_t[]){1}, 1); }
static void negative_start(Bench *t) { attr_set_extent(&t->cx, named(t, "w"), ATTR_start, extent_const(-1)); }
static void stored_negative(Bench *t) { attr_set_ints(&t->cx, named(t, "w"), ATTR_stored, (int64_t[]){-4, 6}, 2); }
static void gain_without_axis(Bench *t) { attr_set_name(&t->cx, named(t, "w"), ATTR_gain, "g"); }
static void gain_elsewhere(Bench *t) { gain_without_axis(t); attr_set_name(&t->cx, named(t, "w"), ATTR_axis, "S"); }
static void axis_without_gain(Bench *t) { attr_set_name(&t->cx, named(t, "w"), ATTR_axis, "D"); }
static void plus_without_gain(Bench *t) { attr_set_float(&t->cx, named(t, "w"), ATTR_plus, 1); }
static void factor_zero(Bench *t) { attr_set_float(&t->cx, named(t, "w"), ATTR_factor, 0); }
static void factor_infinite(Bench *t) { attr_set_float(&t->cx, named(t, "w"), ATTR_factor, 1 / 0.0); }
static void gain_of_layers(Bench *t) { axis_without_gain(t); attr_set_name(&t->cx, named(t, "w"), ATTR_gain, "l.{i}.g"); }
static void no_cache(Bench *t) { attr_set_name(&t->cx, named(t, "a"), ATTR_cache, "kv.v"); }
static void cache_growing(Bench *t) { t->g->caches[0].growing = 3; }
static void cache_layers(Bench *t) { t->g->caches[0].layers = 0; }
static void arena_region(Bench *t) { named(t, "h")->place.region = 1; }
static void arena_offset(Bench *t) { named(t, "h")->place.offset = -64; }
static void output_number(Bench *t) { named(t, "o")->place.index = 9; }
static void region_round(Bench *t) { t->g->regions[0].round[1] = 0; }
static void result_twice(Bench *t) { t->g->results[1].name = t->g->results[0].name; }
static void bounds(Bench *t) { Symbol *s = arena_alloc(&t->arena, sizeof *s); *s = (Symbol){.name = name_of(&t->names, "E"), .low = 5, .high = 4}; t->g->symbols[t->g->n_symbols++] = s; }
static void symbol_twice(Bench *t) { t->g->symbols[t->g->n_symbols] = t->g->symbols[0]; t->g->n_symbols++; }
static void broken_list(Bench *t) { named(t, "a")->prev = named(t, "x"); }
static void wrong_graph(Bench *t) { named(t, "a")->graph = named(t, "u")->graph; }
static void accumulator(Bench *t) { Node *n = named(t, "w"); Type c = *n->type; c.axis[0].size.base = 7; n->type = type_new(&t->cx, c.dtype, c.rank, c.axis); }
static void weights_count(Bench *t) { attr_set_int(&t->cx, named(t, "h"), ATTR_weights, 2); }
static void live_no_mask(Bench *t) { attr_set_name(&t->cx, named(t, "h"), ATTR_live, "x"); }
static void live_no_input(Bench *t) { attr_set_name(&t->cx, named(t, "h"), ATTR_live, "w"); }
static void live_other_rows(Bench *t) { Node *k = named(t, "keep"); k->type = type_new(&t->cx, DT_BOOL, 1, k->type->axis); attr_set_name(&t->cx, named(t, "h"), ATTR_live, "keep"); }
static void not_a_model(Bench *t) { t->g->level = LEVEL_BODY; }

static const struct { const char *rule; void (*break_it)(Bench *); const char *node, *says; } rules[] = {
    {"later use", later_use, "`h`", "used before it is defined"},
    {"own use", own_use, "`a`", "used before it is defined"},
    {"no input", no_input, "`g`", "missing"},
    {"too few inputs", too_few, "`u`", "0 inputs, it takes 1"},
    {"an inner value returned", inner_value, "`u`", "not defined here"},
    {"outer value in a kernel", outer_in_kernel, "`t`", "another graph"},
    {"value of another kernel", other_body, "`t`", "another graph"},
    {"several results as one", several, "`p`", "several results"},
    {"several results returned", several_returned, "`m`", "several results"},
    {"a type for several results", typed_several, "`m`", "several results but one type"},
    {"no type", untyped, "`v`", "type"},
    {"wrong dtype", wrong_dtype, "`s`", "f32"},
    {"wrong axis", wrong_axis, "`g`", "its type is f32[B, S, F=6], not f32[B, S, Q=6]"},
    {"axis twice", axis_twice, "`x`", "stands twice"},
    {"negative axis", axis_negative, "`x`", "negative size"},
    {"unnamed axis", axis_unnamed, "`x`", "no name"},
    {"undeclared symbol", undeclared, "`a`", "undeclared symbol `past`"},
    {"a param outside kernels", wrong_level, "(param)", "level"},
    {"mathematics at kernel level", graph_op_in_kernels, "(neg)", "level"},
    {"a view in a body", view_in_body, "`t`", "level"},
    {"an input that is no parameter", loose_input, "(input)", "not among the parameters"},
    {"a carried value outside", loose_carry, "(carry)", "not among the parameters"},
    {"a parameter that is none", no_parameter, "`", "parameter"},
    {"a parameter's index", moved_parameter, "`k`", "position 1"},
    {"one carry less", one_carry_less, "`r`", "carried"},
    {"one result less", one_result_less, "`r`", "leave a round"},
    {"a carried type changes", carry_changes, "`r`", "carried value 1"},
    {"no count", no_count, "`r`", "count"},
    {"no body", no_body, "`h`", "no body"},
    {"a body too many", spare_body, "`w`", "cannot have a body"},
    {"somebody else's body", foreign_body, "`h`", "belongs to something else"},
    {"a body's level", body_level, "`h`", "wrong level"},
    {"get too far", get_too_far, "`o`", "no result 2"},
    {"get of one result", get_of_one, "`o`", "no result"},
    {"names twice", same_name, "`w`", "the name stands twice"},
    {"ids twice", same_id, "`o`", "is taken"},
    {"wild id", wild_id, "`o`", "out of range"},
    {"attributes out of order", attr_order, "`h`", "out of order or twice"},
    {"attribute twice", attr_twice, "`h`", "out of order or twice"},
    {"stray attribute", attr_stray, "`w`", "takes no attribute `count`"},
    {"no key", no_key, "`w`", "needs a key"},
    {"strides", strides_rank, "`w`", "1 strides for 2 axes"},
    {"negative start", negative_start, "`w`", "not a position"},
    {"negative stored size", stored_negative, "`w`", "negative size"},
    {"a gain's axis", gain_without_axis, "`w`", "names no axis"},
    {"a gain along another axis", gain_elsewhere, "`w`", "names no axis"},
    {"an axis without a gain", axis_without_gain, "`w`", "a gain that it has not"},
    {"plus without a gain", plus_without_gain, "`w`", "a gain that it has not"},
    {"a factor of 0", factor_zero, "`w`", "factor"},
    {"an infinite factor", factor_infinite, "`w`", "factor"},
    {"a gain by layer", gain_of_layers, "`w`", "from layer to layer"},
    {"no such cache", no_cache, "`a`", "no cache `kv.v`"},
    {"growing axis", cache_growing, "`kv.k`", "growing axis"},
    {"no layer", cache_layers, "`kv.k`", "no layer"},
    {"region", arena_region, "`h`", "number 1 of 1"},
    {"offset", arena_offset, "`h`", "negative offset"},
    {"output", output_number, "`o`", "number 9 of 4"},
    {"rounding", region_round, "region 0", "rounds to nothing"},
    {"results twice", result_twice, "`o`", "stands twice"},
    {"bounds", bounds, "`E`", "leave no size"},
    {"symbols twice", symbol_twice, "`B`", "declared twice"},
    {"list", broken_list, "`a`", "linked into the wrong graph"},
    {"graph", wrong_graph, "`a`", "linked into the wrong graph"},
    {"accumulator", accumulator, "`h`", "accumulator 0"},
    {"weights", weights_count, "`h`", "gemm needs a weight"},
    {"rows by a value that is no mask", live_no_mask, "`h`", "`x` is no bool input"},
    {"rows by no input", live_no_input, "`h`", "`w` is no bool input"},
    {"rows by a mask of others", live_other_rows, "`h`", "has not the axes of the model's rows"},
    {"model", not_a_model, "model", "outermost graph"},
};
/* clang-format on */

START_TEST(a_sound_graph_passes)
{
    Bench t;
    bench_open(&t);
    t.g = bench_read(&t, sound);
    ck_assert_msg(t.g != NULL, "%s", bench_said(&t));
    const char *why = "not called";
    ck_assert_msg(graph_verify(&t.cx, t.g, &why), "%s", why);
    ck_assert_msg(graph_verify(&t.cx, graph_copy(&t.cx, t.g), &why), "%s", why);
    bench_close(&t);
}
END_TEST

START_TEST(each_rule_refuses)
{
    Arena arena = {0};
    Text wrong = text_new(&arena);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        Bench t;
        bench_open(&t);
        t.g = bench_read(&t, sound);
        ck_assert_msg(t.g != NULL, "%s", bench_said(&t));
        rules[i].break_it(&t);
        const char *why = NULL;
        bool passed = graph_verify(&t.cx, t.g, &why);
        if (passed || !why || !strstr(why, rules[i].node) || !strstr(why, rules[i].says))
            text_add(&wrong, "%s: %s\n", rules[i].rule, passed ? "passed" : why ? why : "no reason");
        bench_close(&t);
    }
    ck_assert_msg(wrong.length == 0, "%s", wrong.data);
    arena_free(&arena);
}
END_TEST

RUN_CASES("verify", a_sound_graph_passes, each_rule_refuses)
