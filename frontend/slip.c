/* Slips: habits of other languages, and lines that cannot be trusted. What can be repaired is; the rest becomes one T_SLIP. */
#include <string.h>

#include "frontend/layout.h"
#include "parser.h"

static bool has_text(const Layout *l, const Token *t, const char *word)
{
    return t->end - t->begin == strlen(word) && memcmp(l->p->source->text + t->begin, word, strlen(word)) == 0;
}

/* Skips the lines that stand further right than `column`: the block of a language that indents. */
static void skip_indented(Layout *l, int column)
{
    size_t i = l->at;
    while (i < l->n_raw) {
        while (i < l->n_raw && l->raw[i].kind == '\n')
            i++;
        if (i == l->n_raw || layout_column(l, &l->raw[i]) <= column)
            return;
        while (i < l->n_raw && l->raw[i].kind != '\n')
            i++;
        l->at = i;
    }
}

static void skip_line(Layout *l)
{
    int braces = 0;
    while (l->at < l->n_raw && (l->raw[l->at].kind != '\n' || braces > 0)) {
        int kind = l->raw[l->at].kind;
        if (kind == '}' && braces == 0)
            return;
        braces += (kind == '{') - (kind == '}');
        l->at++;
    }
}

/* Braces opened minus braces closed in the text of a line. */
static int brace_balance(const Layout *l, uint32_t begin)
{
    const Source *s = l->p->source;
    int balance = 0;
    for (size_t i = begin; i < s->size && s->text[i] != '\n'; i++)
        balance += (s->text[i] == '{') - (s->text[i] == '}');
    return balance;
}

/* A line with a string that has no end cannot be trusted: all of it becomes one T_SLIP, with the block that it opens. */
static bool cut_broken_line(Layout *l, const Token *t)
{
    const Token *last = layout_last(l);
    if (!t->after_newline && last && last->kind != '}')
        return false;
    bool broken = t->kind == T_SLIP;
    for (size_t i = l->at < l->sound_to ? l->sound_to : l->at; i < l->n_raw && l->raw[i].kind != '\n'; i++) {
        broken |= l->raw[i].kind == T_SLIP;
        l->sound_to = i + 1;
    }
    if (broken && t->kind == '}')
        l->sound_to = l->at;
    if (!broken || t->kind == '}')
        return false;
    int balance = brace_balance(l, t->begin);
    while (l->at < l->n_raw && l->raw[l->at].kind != '\n')
        l->at++;
    for (; balance > 0 && l->at < l->n_raw; l->at++)
        balance += (l->raw[l->at].kind == '{') - (l->raw[l->at].kind == '}');
    layout_put_token(l, (Token){T_SLIP, t->begin, t->end, true, t->after_newline});
    l->first = T_SLIP;
    for (; balance < 0; balance++)
        bracket_close(l, (Token){'}', t->end, t->end, true, false});
    return true;
}

/* `def f(x):` and its like: the statement, with the lines that are indented below it, becomes one T_SLIP. */
static bool cut_foreign_statement(Layout *l, const Token *t)
{
    static const struct {
        const char *word, *help;
    } foreign[] = {
        {"def", "a block is written `block Name(x: [B, S, D]) -> [B, S, D] { ... }`"},
        {"class", "a block is written `block Name(x: [B, S, D]) -> [B, S, D] { ... }`"},
        {"fun", "a block is written `block Name(x: [B, S, D]) -> [B, S, D] { ... }`"},
        {"func", "a block is written `block Name(x: [B, S, D]) -> [B, S, D] { ... }`"},
        {"for", "a loop over layers is written `repeat i < L at \"layers.{i}\" { ... }`"},
        {"while", "a loop over layers is written `repeat i < L at \"layers.{i}\" { ... }`"},
        {"elif", "a second condition is written `} else if condition {`"},
        {"import", "all operators are built in: `attar ops` lists them"},
        {"from", "all operators are built in: `attar ops` lists them"},
        {"var", "a value gets a name by `name = ...`"},
        {"const", "a value gets a name by `name = ...`"},
    };
    if (t->kind != T_NAME || l->first || !layout_in_braces(l) || l->at >= l->n_raw)
        return false;
    int next = l->raw[l->at].kind;
    if (next != T_NAME && next != '(' && next != '!' && next != T_NUMBER && next != T_STRING)
        return false;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (!has_text(l, t, foreign[i].word))
            continue;
        Diag *d = diag_error(l->p->cx->diags, "E0113", token_span(l->p, t), "`%s` is not a word of this language",
                             foreign[i].word);
        diag_help(d, "%s", foreign[i].help);
        int column = l->line_column;
        skip_line(l);
        if (l->raw[l->at - 1].kind == ':')
            skip_indented(l, column);
        layout_put_token(l, (Token){T_SLIP, t->begin, t->end, true, t->after_newline});
        l->first = T_SLIP;
        return true;
    }
    return false;
}

/* `if x:` and its like at the end of a line: braces are put in, and the lines that are indented below are left out. */
static bool cut_colon_block(Layout *l, const Token *t)
{
    if (t->kind != ':' || !layout_in_braces(l) || (l->at < l->n_raw && l->raw[l->at].kind != '\n'))
        return false;
    switch (l->first) {
    case T_IF:
    case T_ELSE:
    case T_REPEAT:
    case T_AT:
    case T_BLOCK:
    case T_MODEL:
    case T_CONFIG:
    case T_CACHE:
    case T_NAMES: break;
    default: return false;
    }
    if (!l->colon_reported || l->first != T_ELSE) {
        Diag *d =
            diag_error(l->p->cx->diags, "E0113", token_span(l->p, t), "a block stands in braces, not after a colon");
        diag_help(d, "write `{` here and `}` on a line of its own below");
    }
    l->colon_reported = true;
    skip_indented(l, l->line_column);
    layout_put(l, '{', true);
    layout_put(l, T_SLIP, true);
    layout_put(l, '}', true);
    return true;
}

bool slip_of_equals(Layout *l, Token *t)
{
    if (t->kind != '=' || !l->condition || l->condition != l->n_open + 1)
        return false;
    Diag *d =
        diag_error(l->p->cx->diags, "E0110", token_span(l->p, t), "`=` gives a name to a value and cannot compare");
    diag_help(d, "write `==` to compare");
    t->kind = T_EQ;
    t->reported = true;
    return true;
}

/* `else` cannot follow the newline that ended its `if`. */
void slip_of_else(Layout *l, Token *t)
{
    Diag *d = diag_error(l->p->cx->diags, "E0112", token_span(l->p, t), "`else` stands on a line of its own");
    diag_caret(d, "the newline before it ended the statement");
    diag_help(d, layout_last(l)->kind == '}' ? "write `} else {` on one line"
                                             : "put `else` on the line above, or the whole in parentheses");
    t->reported = true;
}

bool slip_cut(Layout *l, const Token *t)
{
    return cut_broken_line(l, t) || cut_foreign_statement(l, t) || cut_colon_block(l, t);
}
