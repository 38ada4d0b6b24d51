/* A graph for Graphviz: a box for each node with its operator, name and type; repeats and kernels are clusters around
 * their bodies. `dot -Tsvg` draws it. */
#include <string.h>
#include "ir/ir.h"

enum { LONGEST_LABEL = 60 };

/* Inside a quoted label. */
static void put_escaped(Text *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            text_char(out, '\\');
        text_char(out, (unsigned char)*text < 0x20 ? ' ' : *text);
    }
}

static void indent(Text *out, int depth)
{
    text_pad(out, (size_t)depth * 2);
}

static const char *colour_of(const Node *n)
{
    switch (op_info[n->op].class) {
    case CLASS_LEAF: return "#eeeeee";
    case CLASS_CONTRACT: return "#ffd9b3";
    case CLASS_REDUCE:
    case CLASS_ROW: return "#d9ead3";
    case CLASS_VIEW:
    case CLASS_MOVE: return "#e8e0f0";
    case CLASS_KERNEL: return "#cfe2f3";
    default: return "#ffffff";
    }
}

static const char *name_or_op(const Node *n)
{
    return n->name ? n->name : op_info[n->op].name;
}

static void put_label(Text *out, const Node *n)
{
    text_add(out, "label=\"%s", op_info[n->op].name);
    const char *key = attr_name(n, ATTR_key);
    if (n->op == OP_repeat)
        text_add(out, " x%lld", (long long)attr_int(n, ATTR_count, 0));
    text_add(out, "\\n");
    put_escaped(out, name_or_op(n));
    if (n->op == OP_weight && key && strlen(key) <= LONGEST_LABEL) {
        text_add(out, "\\n");
        put_escaped(out, key);
    }
    if (op_info[n->op].flags & OPF_BARE) { /* no cluster around it, whose label would say what it does */
        Text formula = text_new(out->arena);
        formula_print(n, &formula);
        text_add(out, "\\n");
        put_escaped(out, formula.data);
    }
    if (n->type) {
        Text type = text_new(out->arena);
        type_print(n->type, &type);
        text_add(out, "\\n");
        put_escaped(out, type.data);
    }
    text_char(out, '"');
}

static void put_node(Text *out, const Node *n, int depth)
{
    indent(out, depth);
    text_add(out, "n%d [", n->id);
    put_label(out, n);
    text_add(out, ", fillcolor=\"%s\"];\n", colour_of(n));
}

static void put_graph(Text *out, const Graph *g, int depth);

static void put_cluster(Text *out, const Node *n, int depth)
{
    Text formula = text_new(out->arena);
    if (n->op != OP_repeat)
        formula_print(n, &formula);
    indent(out, depth);
    text_add(out, "subgraph cluster_%d {\n", n->id);
    indent(out, depth + 1);
    text_add(out, "label=\"%s ", op_info[n->op].name);
    put_escaped(out, name_or_op(n));
    if (formula.length && formula.length <= LONGEST_LABEL) {
        text_add(out, ": ");
        put_escaped(out, formula.data);
    }
    text_add(out, "\"; style=\"rounded\"; color=\"%s\";\n", n->op == OP_repeat ? "#990000" : "#3d6b99");
    put_graph(out, n->body, depth + 1);
    put_node(out, n, depth + 1);
    indent(out, depth);
    text_add(out, "}\n");
}

static void put_edge(Text *out, const Node *from, const Node *to, const char *attributes, int depth)
{
    indent(out, depth);
    text_add(out, "n%d -> n%d%s;\n", from->id, to->id, attributes);
}

/* The parameter that stands for input i in the body, or the node itself. What goes into a product goes to its
 * accumulator: to the first one, if all of them read it. */
static const Node *receiver(const Node *n, int i)
{
    if (!n->body)
        return n;
    int param = i;
    if (n->op == OP_repeat)
        param = i + 1;
    else if (n->op == OP_gemm && i >= gemm_side(n, 0))
        param = gemm_side_of(n, (i - gemm_side(n, 0)) / 2);
    else if (n->op == OP_gemm)
        param = i ? i - 1 : 0;
    else if (n->op == OP_attend)
        param = i < 2 ? 0 : i == 2 ? -1 : attr_bool(n, ATTR_second, false) && i >= n->n_inputs - 2 ? n->n_inputs - 4 : i - 2;
    else if (n->op == OP_append)
        param = i == 1 ? -1 : i ? i - 1 : 0;
    return param < 0 || param >= n->body->n_params ? n : n->body->params[param];
}

static void put_edges(Text *out, const Graph *g, int depth)
{
    for (const Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++)
            put_edge(out, n->inputs[i], receiver(n, i), "", depth);
        for (int j = 1; n->op == OP_gemm && j < attr_int(n, ATTR_weights, 1); j++)
            put_edge(out, n->inputs[0], n->body->params[j], "", depth);
        if (!n->body)
            continue;
        put_edges(out, n->body, depth);
        for (int i = 0; i < n->body->n_results; i++) {
            const Node *value = n->body->results[i].value;
            put_edge(out, value, n, "", depth);
            if (n->op == OP_repeat && value != n->body->params[i + 1])
                put_edge(out, value, n->body->params[i + 1], " [style=dashed, constraint=false]", depth);
        }
    }
}

static void put_graph(Text *out, const Graph *g, int depth)
{
    for (const Node *n = g->first; n; n = n->next)
        if (n->body)
            put_cluster(out, n, depth);
        else
            put_node(out, n, depth);
}

void graph_dot(const Graph *model, Text *out)
{
    text_add(out, "digraph \"");
    put_escaped(out, model->name ? model->name : "");
    text_add(out, "\" {\n  node [shape=box, style=\"filled,rounded\", fontname=\"Helvetica\", fontsize=10];\n"
                  "  edge [color=\"#666666\"];\n");
    put_graph(out, model, 1);
    put_edges(out, model, 1);
    for (int i = 0; i < model->n_results; i++) {
        text_add(out, "  r%d [shape=ellipse, label=\"", i);
        put_escaped(out, model->results[i].name ? model->results[i].name : "result");
        text_add(out, "\", fillcolor=\"#ffffff\"];\n  n%d -> r%d;\n", model->results[i].value->id, i);
    }
    text_add(out, "}\n");
}
