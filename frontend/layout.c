/* Layout: from raw tokens to a balanced text.
 *
 * A newline becomes `;` if the brackets around it are all braces, the token before it can end a statement, and the next
 * one is not `|>`. Brackets are paired (bracket.c), and the commonest slips are repaired or cut out (slip.c). */
#include "frontend/layout.h"
#include "parser.h"

const Token *layout_last(const Layout *l)
{
    return l->p->n_tokens ? &l->p->tokens[l->p->n_tokens - 1] : NULL;
}

void layout_put_token(Layout *l, Token t)
{
    Parser *p = l->p;
    p->tokens = arena_room(p->cx->arena, p->tokens, p->n_tokens, &p->room, sizeof *p->tokens);
    p->tokens[p->n_tokens++] = t;
}

/* A token that is not written: it stands, empty, behind the last one. */
void layout_put(Layout *l, int kind, bool reported)
{
    const Token *last = layout_last(l);
    uint32_t end = last ? last->end : 0;
    layout_put_token(l, (Token){kind, end, end, reported, false});
}

bool token_ends_statement(const Token *t)
{
    if (!t)
        return false;
    switch (t->kind) {
    case T_NAME:
    case T_NUMBER:
    case T_STRING:
    case T_TRUE:
    case T_FALSE:
    case T_NONE:
    case T_SLIP:
    case ')':
    case ']':
    case '}': return true;
    default: return false;
    }
}

bool layout_in_braces(const Layout *l)
{
    return l->n_open == 0 || l->open[l->n_open - 1].token.kind == '{';
}

void layout_end_statement(Layout *l, bool reported)
{
    l->first = l->condition = 0;
    l->braced = l->arrow = false;
    if (token_ends_statement(layout_last(l)))
        layout_put(l, ';', reported);
}

bool token_needs_braces(int first)
{
    switch (first) {
    case T_CONFIG:
    case T_CACHE:
    case T_NAMES:
    case T_BLOCK:
    case T_MODEL:
    case T_REPEAT:
    case T_AT:
    case T_IF:
    case T_ELSE: return true;
    default: return false;
    }
}

int layout_column(const Layout *l, const Token *t)
{
    uint32_t at = t->begin;
    while (at > 0 && l->p->source->text[at - 1] != '\n')
        at--;
    return (int)(t->begin - at);
}

static void take(Layout *l, Token t)
{
    bracket_check(l, &t);
    if (t.after_newline) {
        l->line_column = layout_column(l, &t);
        l->extra_reported = false;
    }
    if (t.after_newline && layout_in_braces(l) && t.kind != T_PIPE && !l->brace_repaired) {
        const Token *last = layout_last(l);
        if (t.kind == T_ELSE && token_ends_statement(last)) {
            if (!last->reported)
                slip_of_else(l, &t);
        } else {
            layout_end_statement(l, false);
        }
    }
    l->brace_repaired = false;
    if (slip_cut(l, &t))
        return;
    slip_of_equals(l, &t);
    bool statement_else = t.kind == T_ELSE && layout_last(l) && layout_last(l)->kind == '}';
    if (statement_else)
        l->braced = false;
    if (statement_else || (l->first == 0 && t.kind != ';')) {
        l->first = t.kind;
        l->first_column = l->line_column;
    }
    switch (t.kind) {
    case T_IF:
    case T_ASSERT: l->condition = l->n_open + 1; break;
    case T_THEN: l->condition = 0; break;
    case T_ARROW: l->arrow = true; break;
    case ';':
        l->first = l->condition = 0;
        l->braced = l->arrow = false;
        break;
    case '(':
    case '[':
    case '{': bracket_open(l, t); return;
    case ')':
    case ']':
    case '}': bracket_close(l, t); return;
    }
    layout_put_token(l, t);
}

void layout_tokens(Parser *p)
{
    Layout l = {.p = p, .raw = p->tokens, .n_raw = p->n_tokens, .newline = true};
    p->tokens = NULL;
    p->n_tokens = p->room = 0;
    while (l.at < l.n_raw && !p->hopeless) {
        Token t = l.raw[l.at++];
        if (t.kind == '\n') {
            l.newline = true;
            continue;
        }
        t.after_newline = l.newline;
        l.newline = false;
        take(&l, t);
    }
    if (!p->hopeless)
        bracket_finish(&l);
    layout_put(&l, 0, false);
}
