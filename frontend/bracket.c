/* Brackets: each gets its partner. Where one is missing, the first token that cannot stand inside it (a brace, a word that
 * begins a statement, a declaration inside a body) says so, and the partner is put in: one message, and the rest is read as meant. */
#include "frontend/layout.h"
#include "parser.h"

static int closer_of(int opener)
{
    return opener == '(' ? ')' : opener == '[' ? ']' : '}';
}

void bracket_open(Layout *l, Token t)
{
    if (l->n_open == MAX_BRACKETS) {
        mistake_depth(l->p, token_span(l->p, &t));
        return;
    }
    l->open[l->n_open++] = (Open){t, l->p->n_tokens, l->line_column, l->first, l->first_column};
    layout_put_token(l, t);
    if (t.kind == '{') {
        l->first = l->condition = 0;
        l->braced = false;
    }
}

static void pop(Layout *l)
{
    const Open *o = &l->open[--l->n_open];
    if (o->token.kind == '{') {
        l->condition = 0;
        l->braced = true;
    }
    l->first = o->first;
    l->first_column = o->first_column;
}

/* A string without its end, say, swallows the bracket too. */
static bool reported_since(const Layout *l, size_t index)
{
    for (size_t i = index; i < l->p->n_tokens; i++)
        if (l->p->tokens[i].reported)
            return true;
    return false;
}

/* Puts in the partners of all open brackets above `depth`. One message, about the innermost. */
static void close_unclosed(Layout *l, int depth, const Token *because)
{
    const Open *o = &l->open[l->n_open - 1];
    if (o->token.kind == '{' && l->suspect.token.kind)
        o = &l->suspect;
    if (o->token.kind == '{' || !reported_since(l, o->index)) {
        Diag *d = diag_error(l->p->cx->diags, "E0111", token_span(l->p, &o->token), "this `%c` is never closed",
                             o->token.kind);
        if (because)
            diag_label(d, token_span(l->p, because), "a `%c` is missing before this", closer_of(o->token.kind));
    }
    l->p->tokens[o->index].reported = true;
    l->suspect.token.kind = 0;
    while (l->n_open > depth) {
        int opener = l->open[l->n_open - 1].token.kind;
        if (opener == '{')
            layout_end_statement(l, true);
        layout_put(l, closer_of(opener), true);
        pop(l);
    }
}

/* Brackets that were opened inside the innermost brace, or outside all. */
static int depth_of_brace(const Layout *l)
{
    int depth = l->n_open;
    while (depth > 0 && l->open[depth - 1].token.kind != '{')
        depth--;
    return depth;
}

/* `x =` at raw token i, and not as an argument. */
static bool begins_assignment(const Layout *l, size_t i)
{
    return i + 1 < l->n_raw && l->raw[i].kind == T_NAME && l->raw[i + 1].kind == '=' &&
           (i < 2 || l->raw[i - 2].kind != ',');
}

/* Closing brackets ahead that nothing ahead opens: on this line, or up to where a statement begins or ends. */
static int closes_ahead(const Layout *l, bool line)
{
    int closed = 0, most = 0;
    for (size_t i = l->at; i < l->n_raw && i < l->at + FAR; i++) {
        int kind = l->raw[i].kind;
        if (kind == '{' || kind == '}' || kind == T_RETURN || (kind == '\n' && (line || begins_assignment(l, i + 1))))
            break;
        closed += (kind == ')' || kind == ']') - (kind == '(' || kind == '[');
        most = closed > most ? closed : most;
    }
    return most;
}

/* A closing bracket that fits nothing. If what is open needs it on this line, it stands for the right one; else it is left out. */
static void close_wrongly(Layout *l, Token t)
{
    int inside = l->n_open - depth_of_brace(l);
    const Open *o = &l->open[l->n_open - (l->n_open > 0)];
    if (!l->extra_reported) {
        Diag *d = diag_error(l->p->cx->diags, "E0111", token_span(l->p, &t), "this `%c` closes nothing", t.kind);
        if (inside > 0)
            diag_label(d, token_span(l->p, &o->token), "open here is this `%c`", o->token.kind);
    }
    l->extra_reported = true;
    if (l->p->n_tokens)
        l->p->tokens[l->p->n_tokens - 1].reported = true;
    if (inside > 0 && t.kind != '}' && closes_ahead(l, false) < inside) {
        layout_put(l, closer_of(o->token.kind), true);
        pop(l);
    }
}

void bracket_close(Layout *l, Token t)
{
    int depth = l->n_open;
    while (depth > 0 && closer_of(l->open[depth - 1].token.kind) != t.kind && l->open[depth - 1].token.kind != '{')
        depth--;
    if (t.kind == '}')
        depth = depth_of_brace(l);
    if (depth == 0 || closer_of(l->open[depth - 1].token.kind) != t.kind) {
        close_wrongly(l, t);
        return;
    }
    if (l->n_open > depth)
        close_unclosed(l, depth, &t);
    const Open *o = &l->open[l->n_open - 1];
    if (t.kind == '}' && t.after_newline && layout_column(l, &t) < o->line_column && !l->suspect.token.kind)
        l->suspect = *o;
    layout_put_token(l, t);
    pop(l);
}

/* A word of a declaration, followed by what has to follow it. */
static bool begins_declaration(const Layout *l, const Token *t)
{
    int next = l->at < l->n_raw ? l->raw[l->at].kind : 0;
    switch (t->kind) {
    case T_BLOCK:
    case T_MODEL:
    case T_CACHE:
    case T_NAMES: return next == T_NAME;
    case T_USE:
    case T_CONFIG: return next == T_STRING;
    case T_LET:
    case T_DEFAULT:
    case T_IGNORE: return layout_column(l, t) == 0;
    default: return false;
    }
}

/* A path whose quote was forgotten begins no statement: model.layers.0.weight". */
static bool begins_statement(const Layout *l, const Token *t)
{
    if (l->at < l->n_raw && l->raw[l->at].kind == '.')
        return false;
    switch (t->kind) {
    case T_RETURN:
    case T_ASSERT:
    case T_REPEAT:
    case T_AT:
    case '@':
    case T_BLOCK:
    case T_MODEL:
    case T_CONFIG:
    case T_USE:
    case T_CACHE:
    case T_NAMES:
    case T_LET:
    case T_DEFAULT:
    case T_IGNORE: return true;
    default: return false;
    }
}

/* `x =` or `x = a +` at the end of a line, when the next line is clearly a statement of its own. */
static void check_unfinished(Layout *l, const Token *t)
{
    const Token *last = layout_last(l);
    if (!t->after_newline || !last || last->reported || !layout_in_braces(l) ||
        !(last->kind == '=' || last->kind == ',' || is_infix_token(last->kind)))
        return;
    if (last->kind == ',' && token_needs_braces(l->first))
        return;
    bool assignment = t->kind == T_NAME && l->at < l->n_raw && l->raw[l->at].kind == '=';
    if (!assignment && !begins_statement(l, t))
        return;
    diag_error(l->p->cx->diags, "E0101", token_span(l->p, last), "expected an expression after %s",
               token_text(l->p, last));
    l->first = l->condition = 0;
    layout_put(l, ';', true);
}

/* Closes what must have been forgotten if `t` stands here. */
static void check_unclosed(Layout *l, const Token *t)
{
    if (!layout_in_braces(l)) {
        const Token *last = layout_last(l);
        bool next_line =
            t->after_newline && last->kind != T_SLIP && token_ends_statement(last) && t->kind == T_NAME && closes_ahead(l, true) <= 0;
        if (t->kind == '{' || next_line || (t->after_newline && begins_statement(l, t)))
            close_unclosed(l, depth_of_brace(l), t);
    }
    if (l->n_open && t->after_newline && begins_declaration(l, t))
        close_unclosed(l, 0, t);
}

/* Can `t` only be meant as the first inside braces? On the same line, if no brace follows; on the next, if it is indented. */
static bool brace_forgotten(const Layout *l, const Token *t)
{
    bool entry = t->kind == T_NAME || t->kind == T_STRING || t->kind == T_IF || begins_statement(l, t);
    if (!entry || !(token_ends_statement(layout_last(l)) || layout_last(l)->kind == T_ELSE) ||
        (t->kind == T_AT && l->first == T_REPEAT && !t->after_newline))
        return false;
    if (t->after_newline)
        return layout_column(l, t) > l->first_column;
    if ((l->first == T_BLOCK || l->first == T_MODEL) && !l->arrow)
        return false;
    for (size_t i = l->at; i < l->n_raw && i < l->at + FAR && l->raw[i].kind != '\n'; i++)
        if (l->raw[i].kind == '{')
            return false;
    return true;
}

/* `repeat i < L` and its like at the end of a line: the brace stands on the next line, or was forgotten if what follows is indented. */
static void check_brace(Layout *l, const Token *t)
{
    const Token *last = layout_last(l);
    if (!last || !layout_in_braces(l) || !token_needs_braces(l->first) || l->braced)
        return;
    if (t->kind == '{' && t->after_newline) {
        Diag *d = diag_error(l->p->cx->diags, "E0112", token_span(l->p, t), "`{` stands on a line of its own");
        diag_caret(d, "the newline before it ended the statement");
        diag_help(d, "put it at the end of the line above");
        l->brace_repaired = true;
        return;
    }
    if (!brace_forgotten(l, t))
        return;
    if (!last->reported)
        diag_error(l->p->cx->diags, "E0111", span_of(l->p, last->end, last->end), "a `{` is missing here");
    bracket_open(l, (Token){'{', last->end, last->end, true, false});
}

/* Behind a closing brace only `else` goes on. */
static void check_after_brace(Layout *l, const Token *t)
{
    const Token *last = layout_last(l);
    if (t->after_newline || !last || last->kind != '}' || last->begin == last->end)
        return;
    if (t->kind == ';' || t->kind == '}' || t->kind == ')' || t->kind == ']' || t->kind == T_ELSE)
        return;
    diag_error(l->p->cx->diags, "E0101", token_span(l->p, t), "expected a new line after `}`, found %s",
               token_text(l->p, t));
    layout_end_statement(l, true);
}

void bracket_check(Layout *l, const Token *t)
{
    check_unclosed(l, t);
    check_unfinished(l, t);
    check_after_brace(l, t);
    check_brace(l, t);
}

void bracket_finish(Layout *l)
{
    if (l->n_open)
        close_unclosed(l, 0, NULL);
}
