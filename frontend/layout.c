/* Layout: from raw tokens to a balanced text.
 *
 * A newline becomes `;` if the brackets around it are all braces, the token before it can end a statement, and the next one is not `|>`.
 * Brackets are paired here. Where one is missing, the first token that cannot stand inside it (a brace, a word that begins a statement,
 * a declaration inside a body) says so, and the partner is put in. The commonest slips of other languages are repaired or cut out. */
#include <string.h>

#include "frontend/syntax.h"
#include "parser.h"

typedef struct Open {
    Token token;
    size_t index;                       /* in the tokens put out */
    int line_column;                    /* of the line it stands on */
    int first, first_column;            /* what its statement began with */
} Open;

typedef struct Layout {
    Parser *p;
    const Token *raw;
    size_t n_raw, at;
    Open open[MAX_BRACKETS];
    int n_open;
    Open suspect;                       /* a `{` whose `}` stands further left: kind 0 if none */
    int first;                          /* the token that began the statement; 0 at its beginning */
    int first_column;                   /* of the line it begins on */
    bool braced;                        /* it has had its braces */
    bool arrow;                         /* it has had its `->` */
    int condition;                      /* depth + 1 of the `if` or `assert` whose condition is being read; 0: none */
    int line_column;                    /* column of the first token of this line */
    bool newline;                       /* a newline came since the last token */
    bool extra_reported;                /* on this line */
    bool colon_reported;
    bool brace_repaired;                /* the next `{` belongs to the line above */
} Layout;

/* ---- what is put out ------------------------------------------------------------------------------------------------------------------ */

static const Token *last_token(const Layout *l) { return l->p->n_tokens ? &l->p->tokens[l->p->n_tokens - 1] : NULL; }

static void put_token(Layout *l, Token t) {
    Parser *p = l->p;
    p->tokens = arena_room(p->cx->arena, p->tokens, p->n_tokens, &p->room, sizeof *p->tokens);
    p->tokens[p->n_tokens++] = t;
}

/* A token that is not written: it stands, empty, behind the last one. */
static void put(Layout *l, int kind, bool reported) {
    const Token *last = last_token(l);
    uint32_t end = last ? last->end : 0;
    put_token(l, (Token){ kind, end, end, reported, false });
}

static bool ends_statement(const Token *t) {
    if (!t)
        return false;
    switch (t->kind) {
    case T_NAME: case T_NUMBER: case T_STRING: case T_TRUE: case T_FALSE: case T_NONE: case T_SLIP: case ')': case ']': case '}': return true;
    default: return false;
    }
}

static bool in_braces(const Layout *l) { return l->n_open == 0 || l->open[l->n_open - 1].token.kind == '{'; }

static void end_statement(Layout *l, bool reported) {
    l->first = l->condition = 0;
    l->braced = l->arrow = false;
    if (ends_statement(last_token(l)))
        put(l, ';', reported);
}

static bool needs_braces(int first) {
    switch (first) {
    case T_CONFIG: case T_CACHE: case T_NAMES: case T_BLOCK: case T_MODEL: case T_REPEAT: case T_AT: case T_IF: case T_ELSE: return true;
    default: return false;
    }
}

static int column_of(const Layout *l, const Token *t) {
    uint32_t at = t->begin;
    while (at > 0 && l->p->source->text[at - 1] != '\n')
        at--;
    return (int)(t->begin - at);
}

/* ---- brackets ----------------------------------------------------------------------------------------------------------------------- */

static int closer_of(int opener) { return opener == '(' ? ')' : opener == '[' ? ']' : '}'; }

static void open_bracket(Layout *l, Token t) {
    if (l->n_open == MAX_BRACKETS) {
        mistake_depth(l->p, token_span(l->p, &t));
        return;
    }
    l->open[l->n_open++] = (Open){ t, l->p->n_tokens, l->line_column, l->first, l->first_column };
    put_token(l, t);
    if (t.kind == '{') {
        l->first = l->condition = 0;
        l->braced = false;
    }
}

static void pop(Layout *l) {
    const Open *o = &l->open[--l->n_open];
    if (o->token.kind == '{') {
        l->condition = 0;
        l->braced = true;
    }
    l->first = o->first;
    l->first_column = o->first_column;
}

/* A string without its end, say, swallows the bracket too. */
static bool reported_since(const Layout *l, size_t index) {
    for (size_t i = index; i < l->p->n_tokens; i++)
        if (l->p->tokens[i].reported)
            return true;
    return false;
}

/* Puts in the partners of all open brackets above `depth`. One message, about the innermost. */
static void close_unclosed(Layout *l, int depth, const Token *because) {
    const Open *o = &l->open[l->n_open - 1];
    if (o->token.kind == '{' && l->suspect.token.kind)
        o = &l->suspect;
    if (o->token.kind == '{' || !reported_since(l, o->index)) {
        Diag *d = diag_error(l->p->cx->diags, "E0111", token_span(l->p, &o->token), "this `%c` is never closed", o->token.kind);
        if (because)
            diag_label(d, token_span(l->p, because), "a `%c` is missing before this", closer_of(o->token.kind));
    }
    l->p->tokens[o->index].reported = true;
    l->suspect.token.kind = 0;
    while (l->n_open > depth) {
        int opener = l->open[l->n_open - 1].token.kind;
        if (opener == '{')
            end_statement(l, true);
        put(l, closer_of(opener), true);
        pop(l);
    }
}

/* Brackets that were opened inside the innermost brace, or outside all. */
static int depth_of_brace(const Layout *l) {
    int depth = l->n_open;
    while (depth > 0 && l->open[depth - 1].token.kind != '{')
        depth--;
    return depth;
}

/* `x =` at raw token i, and not as an argument. */
static bool begins_assignment(const Layout *l, size_t i) {
    return i + 1 < l->n_raw && l->raw[i].kind == T_NAME && l->raw[i + 1].kind == '=' && (i < 2 || l->raw[i - 2].kind != ',');
}

/* Closing brackets ahead that nothing ahead opens: on this line, or up to where a statement begins or ends. */
static int closes_ahead(const Layout *l, bool line) {
    int closed = 0, most = 0;
    for (size_t i = l->at; i < l->n_raw && i < l->at + 200; i++) {
        int kind = l->raw[i].kind;
        if (kind == '{' || kind == '}' || kind == T_RETURN || (kind == '\n' && (line || begins_assignment(l, i + 1))))
            break;
        closed += (kind == ')' || kind == ']') - (kind == '(' || kind == '[');
        most = closed > most ? closed : most;
    }
    return most;
}

/* A closing bracket that fits nothing. If what is open needs it on this line, it stands for the right one; else it is left out. */
static void close_wrongly(Layout *l, Token t) {
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
        put(l, closer_of(o->token.kind), true);
        pop(l);
    }
}

static void close_bracket(Layout *l, Token t) {
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
    if (t.kind == '}' && t.after_newline && column_of(l, &t) < o->line_column && !l->suspect.token.kind)
        l->suspect = *o;
    put_token(l, t);
    pop(l);
}

/* A word of a declaration, followed by what has to follow it. */
static bool begins_declaration(const Layout *l, const Token *t) {
    int next = l->at < l->n_raw ? l->raw[l->at].kind : 0;
    switch (t->kind) {
    case T_BLOCK: case T_MODEL: case T_CACHE: case T_NAMES: return next == T_NAME;
    case T_CONFIG: return next == T_STRING;
    case T_LET: case T_DEFAULT: case T_IGNORE: return column_of(l, t) == 0;
    default: return false;
    }
}

static bool begins_statement(const Token *t) {
    switch (t->kind) {
    case T_RETURN: case T_ASSERT: case T_REPEAT: case T_AT: case '@':
    case T_BLOCK: case T_MODEL: case T_CONFIG: case T_CACHE: case T_NAMES: case T_LET: case T_DEFAULT: case T_IGNORE: return true;
    default: return false;
    }
}

/* `x =` or `x = a +` at the end of a line, when the next line is clearly a statement of its own. */
static void check_unfinished(Layout *l, const Token *t) {
    const Token *last = last_token(l);
    if (!t->after_newline || !last || last->reported || !in_braces(l) || !(last->kind == '=' || last->kind == ',' || is_infix_token(last->kind)))
        return;
    if (last->kind == ',' && needs_braces(l->first))
        return;
    bool assignment = t->kind == T_NAME && l->at < l->n_raw && l->raw[l->at].kind == '=';
    if (!assignment && !begins_statement(t))
        return;
    diag_error(l->p->cx->diags, "E0101", token_span(l->p, last), "expected an expression after %s", token_text(l->p, last));
    l->first = l->condition = 0;
    put(l, ';', true);
}

/* Closes what must have been forgotten if `t` stands here. */
static void check_unclosed(Layout *l, const Token *t) {
    if (!in_braces(l)) {
        const Token *last = last_token(l);
        bool next_line = t->after_newline && ends_statement(last) && t->kind == T_NAME && closes_ahead(l, true) <= 0;
        if (t->kind == '{' || next_line || (t->after_newline && begins_statement(t)))
            close_unclosed(l, depth_of_brace(l), t);
    }
    if (l->n_open && t->after_newline && begins_declaration(l, t))
        close_unclosed(l, 0, t);
}

/* Can `t` only be meant as the first inside braces? On the same line, if no brace follows; on the next, if it is indented. */
static bool brace_forgotten(const Layout *l, const Token *t) {
    bool entry = t->kind == T_NAME || t->kind == T_STRING || t->kind == T_IF || begins_statement(t);
    if (!entry || !(ends_statement(last_token(l)) || last_token(l)->kind == T_ELSE) || (t->kind == T_AT && l->first == T_REPEAT && !t->after_newline))
        return false;
    if (t->after_newline)
        return column_of(l, t) > l->first_column;
    if ((l->first == T_BLOCK || l->first == T_MODEL) && !l->arrow)
        return false;
    for (size_t i = l->at; i < l->n_raw && l->raw[i].kind != '\n'; i++)
        if (l->raw[i].kind == '{')
            return false;
    return true;
}

/* `repeat i < L` and its like at the end of a line: the brace stands on the next line, or was forgotten if what follows is indented. */
static void check_brace(Layout *l, const Token *t) {
    const Token *last = last_token(l);
    if (!last || !in_braces(l) || !needs_braces(l->first) || l->braced)
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
    open_bracket(l, (Token){ '{', last->end, last->end, true, false });
}

/* Behind a closing brace only `else` goes on. */
static void check_after_brace(Layout *l, const Token *t) {
    const Token *last = last_token(l);
    if (t->after_newline || !last || last->kind != '}' || last->begin == last->end)
        return;
    if (t->kind == ';' || t->kind == '}' || t->kind == ')' || t->kind == ']' || t->kind == T_ELSE)
        return;
    diag_error(l->p->cx->diags, "E0101", token_span(l->p, t), "expected a new line after `}`, found %s", token_text(l->p, t));
    end_statement(l, true);
}

/* ---- slips -------------------------------------------------------------------------------------------------------------------------- */

static bool has_text(const Layout *l, const Token *t, const char *word) {
    return t->end - t->begin == strlen(word) && memcmp(l->p->source->text + t->begin, word, strlen(word)) == 0;
}

/* Skips the lines that stand further right than `column`: the block of a language that indents. */
static void skip_indented(Layout *l, int column) {
    size_t i = l->at;
    while (i < l->n_raw) {
        while (i < l->n_raw && l->raw[i].kind == '\n')
            i++;
        if (i == l->n_raw || column_of(l, &l->raw[i]) <= column)
            return;
        while (i < l->n_raw && l->raw[i].kind != '\n')
            i++;
        l->at = i;
    }
}

static void skip_line(Layout *l) {
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
static int brace_balance(const Layout *l, uint32_t begin) {
    const Source *s = l->p->source;
    int balance = 0;
    for (size_t i = begin; i < s->size && s->text[i] != '\n'; i++)
        balance += (s->text[i] == '{') - (s->text[i] == '}');
    return balance;
}

/* A line with a string that has no end cannot be trusted: all of it becomes one T_SLIP, with the block that it opens. */
static bool cut_broken_line(Layout *l, const Token *t) {
    const Token *last = last_token(l);
    if (!t->after_newline && last && last->kind != '}')
        return false;
    bool broken = t->kind == T_SLIP;
    for (size_t i = l->at; i < l->n_raw && l->raw[i].kind != '\n'; i++)
        broken |= l->raw[i].kind == T_SLIP;
    if (!broken || t->kind == '}')
        return false;
    int balance = brace_balance(l, t->begin);
    while (l->at < l->n_raw && l->raw[l->at].kind != '\n')
        l->at++;
    for (; balance > 0 && l->at < l->n_raw; l->at++)
        balance += (l->raw[l->at].kind == '{') - (l->raw[l->at].kind == '}');
    put_token(l, (Token){ T_SLIP, t->begin, t->end, true, t->after_newline });
    l->first = T_SLIP;
    for (; balance < 0; balance++)
        close_bracket(l, (Token){ '}', t->end, t->end, true, false });
    return true;
}

/* `def f(x):` and its like: the statement, with the lines that are indented below it, becomes one T_SLIP. */
static bool cut_foreign_statement(Layout *l, const Token *t) {
    static const struct { const char *word, *help; } foreign[] = {
        { "def", "a block is written `block Name(x: [B, S, D]) -> [B, S, D] { ... }`" },
        { "class", "a block is written `block Name(x: [B, S, D]) -> [B, S, D] { ... }`" },
        { "fun", "a block is written `block Name(x: [B, S, D]) -> [B, S, D] { ... }`" },
        { "func", "a block is written `block Name(x: [B, S, D]) -> [B, S, D] { ... }`" },
        { "for", "a loop over layers is written `repeat i < L at \"layers.{i}\" { ... }`" },
        { "while", "a loop over layers is written `repeat i < L at \"layers.{i}\" { ... }`" },
        { "elif", "a second condition is written `} else if condition {`" },
        { "import", "all operators are built in: `attar ops` lists them" },
        { "from", "all operators are built in: `attar ops` lists them" },
        { "var", "a value gets a name by `name = ...`" },
        { "const", "a value gets a name by `name = ...`" },
    };
    if (t->kind != T_NAME || l->first || !in_braces(l) || l->at >= l->n_raw)
        return false;
    int next = l->raw[l->at].kind;
    if (next != T_NAME && next != '(' && next != '!' && next != T_NUMBER && next != T_STRING)
        return false;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (!has_text(l, t, foreign[i].word))
            continue;
        Diag *d = diag_error(l->p->cx->diags, "E0113", token_span(l->p, t), "`%s` is not a word of this language", foreign[i].word);
        diag_help(d, "%s", foreign[i].help);
        int column = l->line_column;
        skip_line(l);
        if (l->raw[l->at - 1].kind == ':')
            skip_indented(l, column);
        put_token(l, (Token){ T_SLIP, t->begin, t->end, true, t->after_newline });
        l->first = T_SLIP;
        return true;
    }
    return false;
}

/* `if x:` and its like at the end of a line: braces are put in, and the lines that are indented below are left out. */
static bool cut_colon_block(Layout *l, const Token *t) {
    if (t->kind != ':' || !in_braces(l) || (l->at < l->n_raw && l->raw[l->at].kind != '\n'))
        return false;
    switch (l->first) {
    case T_IF: case T_ELSE: case T_REPEAT: case T_AT: case T_BLOCK: case T_MODEL: case T_CONFIG: case T_CACHE: case T_NAMES: break;
    default: return false;
    }
    if (!l->colon_reported || l->first != T_ELSE) {
        Diag *d = diag_error(l->p->cx->diags, "E0113", token_span(l->p, t), "a block stands in braces, not after a colon");
        diag_help(d, "write `{` here and `}` on a line of its own below");
    }
    l->colon_reported = true;
    skip_indented(l, l->line_column);
    put(l, '{', true);
    put(l, T_SLIP, true);
    put(l, '}', true);
    return true;
}

static bool slip_of_equals(Layout *l, Token *t) {
    if (t->kind != '=' || !l->condition || l->condition != l->n_open + 1)
        return false;
    Diag *d = diag_error(l->p->cx->diags, "E0110", token_span(l->p, t), "`=` gives a name to a value and cannot compare");
    diag_help(d, "write `==` to compare");
    t->kind = T_EQ;
    t->reported = true;
    return true;
}

/* `else` cannot follow the newline that ended its `if`. */
static void slip_of_else(Layout *l, Token *t) {
    Diag *d = diag_error(l->p->cx->diags, "E0112", token_span(l->p, t), "`else` stands on a line of its own");
    diag_caret(d, "the newline before it ended the statement");
    diag_help(d, last_token(l)->kind == '}' ? "write `} else {` on one line" : "put `else` on the line above, or the whole in parentheses");
    t->reported = true;
}

/* ---- all tokens ------------------------------------------------------------------------------------------------------------------------ */

static void take(Layout *l, Token t) {
    check_unclosed(l, &t);
    check_unfinished(l, &t);
    check_after_brace(l, &t);
    check_brace(l, &t);
    if (t.after_newline) {
        l->line_column = column_of(l, &t);
        l->extra_reported = false;
    }
    if (t.after_newline && in_braces(l) && t.kind != T_PIPE && !l->brace_repaired) {
        const Token *last = last_token(l);
        if (t.kind == T_ELSE && ends_statement(last)) {
            if (!last->reported)
                slip_of_else(l, &t);
        } else {
            end_statement(l, false);
        }
    }
    l->brace_repaired = false;
    if (cut_broken_line(l, &t) || cut_foreign_statement(l, &t) || cut_colon_block(l, &t))
        return;
    slip_of_equals(l, &t);
    bool statement_else = t.kind == T_ELSE && last_token(l) && last_token(l)->kind == '}';
    if (statement_else)
        l->braced = false;
    if (statement_else || (l->first == 0 && t.kind != ';')) {
        l->first = t.kind;
        l->first_column = l->line_column;
    }
    switch (t.kind) {
    case T_IF: case T_ASSERT: l->condition = l->n_open + 1; break;
    case T_THEN: l->condition = 0; break;
    case T_ARROW: l->arrow = true; break;
    case ';': l->first = l->condition = 0; l->braced = l->arrow = false; break;
    case '(': case '[': case '{': open_bracket(l, t); return;
    case ')': case ']': case '}': close_bracket(l, t); return;
    }
    put_token(l, t);
}

void layout_tokens(Parser *p) {
    Layout l = { .p = p, .raw = p->tokens, .n_raw = p->n_tokens, .newline = true };
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
    if (l.n_open && !p->hopeless)
        close_unclosed(&l, 0, NULL);
    put(&l, 0, false);
}
