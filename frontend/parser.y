/* The grammar of model files. Actions call one builder each (build.c); messages come from mistake.c. LALR(1), no conflicts.
 *
 * `error` stands where a mistake ends: a statement, a declaration, an entry between braces. mistake_report moves the reader to that end,
 * so that nothing is skipped by trial. */
%define api.pure full
%define api.prefix {grammar_}
%define api.location.type {Span}
%define parse.error custom
%define lr.type canonical-lr
%locations
%expect 0
%param {Parser *p}

%code requires {
#include "frontend/syntax.h"
}

%code {
#define YYMAXDEPTH 6000
#define YYMALLOC(bytes) arena_alloc(p->cx->arena, bytes)
#define YYFREE(memory) ((void)(memory))
#define YYLLOC_DEFAULT(current, rhs, n) ((current) = (n) ? span_join((rhs)[1], (rhs)[n]) : span_of(p, (rhs)[0].end, (rhs)[0].end))

static int grammar_lex(GRAMMAR_STYPE *value, Span *at, Parser *p);
static void grammar_error(Span *at, Parser *p, const char *message);
static Ident nameless(void);
}

%union {
    int op;
    Ident ident;
    List *list;
    Expr *expr;
    TypeExpr *type;
    Stmt *stmt;
    Body *body;
    Decl decl;
    Arg arg;
    Param param;
    ResultDecl result;
    AssignTarget target;
    Binding binding;
    Field field;
    Rename rename;
    Annotation annotation;
}

%token T_CONFIG "config" T_USE "use" T_LET "let" T_DEFAULT "default" T_CACHE "cache" T_NAMES "names" T_IGNORE "ignore" T_BLOCK "block" T_MODEL "model"
%token T_REPEAT "repeat" T_AT "at" T_IF "if" T_THEN "then" T_ELSE "else" T_RETURN "return" T_ASSERT "assert"
%token T_AS "as" T_FN "fn" T_TRUE "true" T_FALSE "false" T_NONE "none"
%token T_ARROW "->" T_GIVES "=>" T_OTHERWISE "??" T_SCOPE "::" T_RANGE ".." T_LE "<=" T_GE ">=" T_EQ "==" T_NE "!=" T_PIPE "|>"
%token T_NAME T_NUMBER T_STRING
%token T_SLIP                           /* layout: a stretch of text that was reported */

%precedence T_PIPE
%precedence PREFIX
%left T_OTHERWISE
%left '|'
%left '&'
%nonassoc T_EQ T_NE T_LE T_GE '<' '>'
%nonassoc T_RANGE
%left '+' '-'
%left '*' '/' '%'
%precedence T_AS
%precedence '!' NEGATIVE
%precedence '^'

%type <ident> name
%type <list> bindings fields renames prefixes params params_0 results args args_0 axes targets exprs fn_params fn_params_0 stmts annotations result_list
%type <expr> expr postfix primary axis
%type <type> type
%type <stmt> stmt core if_stmt
%type <body> body
%type <decl> decl
%type <arg> arg
%type <param> param fn_param
%type <result> result
%type <target> target
%type <binding> binding
%type <field> field
%type <rename> rename
%type <annotation> annotation

%%

file
    : %empty
    | decl                                  { list_add(p, &p->decls, &$decl, sizeof $decl); }
    | file ';'
    | file ';' decl                         { list_add(p, &p->decls, &$decl, sizeof $decl); }
    ;

decl
    : T_USE T_STRING[path]                  {
        $$ = build_decl(DECL_USE, nameless(), @$);
        $$.path = build_text(p, @path, NULL);
    }
    | T_CONFIG T_STRING[path] '{' bindings '}'  {
        $$ = build_decl(DECL_CONFIG, nameless(), @$);
        $$.path = build_text(p, @path, NULL);
        $$.bindings = $bindings->items;
        $$.n_bindings = $bindings->count;
    }
    | T_LET binding                         {
        $$ = build_decl(DECL_LET, nameless(), @$);
        $$.bindings = list_add(p, list_new(p), &$binding, sizeof $binding)->items;
        $$.n_bindings = 1;
    }
    | T_DEFAULT name '(' args_0 ')'         {
        $$ = build_decl(DECL_DEFAULT, $name, @$);
        $$.args = $args_0->items;
        $$.n_args = $args_0->count;
    }
    | T_CACHE name '[' expr ']' '{' fields '}'  {
        $$ = build_decl(DECL_CACHE, $name, @$);
        $$.count = $expr;
        $$.fields = $fields->items;
        $$.n_fields = $fields->count;
    }
    | T_NAMES name '{' renames '}'          {
        $$ = build_decl(DECL_NAMES, $name, @$);
        $$.renames = $renames->items;
        $$.n_renames = $renames->count;
    }
    | T_IGNORE prefixes                     {
        $$ = build_decl(DECL_IGNORE, nameless(), @$);
        $$.renames = $prefixes->items;
        $$.n_renames = $prefixes->count;
    }
    | T_BLOCK name '(' params_0 ')' T_ARROW results body    {
        $$ = build_decl(DECL_BLOCK, $name, @$);
        $$.params = $params_0->items, $$.n_params = $params_0->count;
        $$.results = $results->items, $$.n_results = $results->count;
        $$.body = $body;
    }
    | T_MODEL name '(' params_0 ')' T_ARROW results body    {
        $$ = build_decl(DECL_MODEL, $name, @$);
        $$.params = $params_0->items, $$.n_params = $params_0->count;
        $$.results = $results->items, $$.n_results = $results->count;
        $$.body = $body;
    }
    | T_LET error                           { $$ = build_decl(DECL_ERROR, nameless(), @$); yyerrok; }
    | T_CACHE name error                    { $$ = build_decl(DECL_ERROR, $name, @$); yyerrok; }
    | T_BLOCK name error                    { $$ = build_decl(DECL_ERROR, $name, @$); yyerrok; }
    | T_MODEL name error                    { $$ = build_decl(DECL_ERROR, $name, @$); yyerrok; }
    | T_SLIP                                { $$ = build_decl(DECL_ERROR, nameless(), @$); }
    | error                                 { $$ = build_decl(DECL_ERROR, nameless(), @$); yyerrok; }
    ;

name: T_NAME                                { $$ = build_ident(p, @$); } ;

bindings
    : %empty                                { $$ = list_new(p); }
    | binding                               { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | bindings ';'
    | error                                 { $$ = list_new(p); yyerrok; }
    | bindings ';' error                    { yyerrok; }
    | bindings ';' binding                  { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
binding
    : name '=' expr                         { $$ = (Binding){ $name, $expr }; }
    | name '=' error                        { $$ = (Binding){ $name, build_leaf(p, EXPR_ERROR, @$) }; yyerrok; }
    ;

fields
    : %empty                                { $$ = list_new(p); }
    | field                                 { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | fields ';'
    | error                                 { $$ = list_new(p); yyerrok; }
    | fields ';' error                      { yyerrok; }
    | fields ';' field                      { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
field: name ':' type                        { $$ = (Field){ $name, $type }; } ;

renames
    : %empty                                { $$ = list_new(p); }
    | rename                                { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | renames ';'
    | error                                 { $$ = list_new(p); yyerrok; }
    | renames ';' error                     { yyerrok; }
    | renames ';' rename                    { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
rename
    : T_STRING[from] T_GIVES T_STRING[to]   { $$ = build_rename(p, @from, &@to); }
    | T_STRING[from] T_GIVES T_NONE         { $$ = build_rename(p, @from, NULL); $$.to_at = @T_NONE; }
    ;
prefixes
    : T_STRING                              { Rename r = build_rename(p, @1, NULL); $$ = list_add(p, list_new(p), &r, sizeof r); }
    | prefixes ',' T_STRING                 { Rename r = build_rename(p, @3, NULL); $$ = list_add(p, $1, &r, sizeof r); }
    ;

params_0: %empty { $$ = list_new(p); } | params ;
params
    : param                                 { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | params ',' param                      { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
param
    : name ':' type                         { $$ = (Param){ $name, $type, NULL, nameless() }; }
    | name T_STRING[said] ':' type          { $$ = (Param){ $name, $type, NULL, build_quoted(p, @said) }; }
    | name ':' type '=' expr                { $$ = (Param){ $name, $type, $expr, nameless() }; }
    | name '=' expr                         { $$ = (Param){ $name, NULL, $expr, nameless() }; }
    ;

results
    : result                                { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | '(' result_list ')'                   { $$ = $2; }
    ;
result_list
    : result                                { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | result_list ',' result                { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
result
    : type                                  { $$ = (ResultDecl){ nameless(), $type, false }; }
    | name ':' type                         { $$ = (ResultDecl){ $name, $type, false }; }
    | T_STRING[said] ':' type               { $$ = (ResultDecl){ build_quoted(p, @said), $type, true }; }
    ;

type
    : name                                  { $$ = build_type(p, $name, NULL, @$); }
    | name '[' axes ']'                     { $$ = build_type(p, $name, $axes, @$); }
    | '[' axes ']'                          { $$ = build_type(p, nameless(), $axes, @$); }
    ;
axes
    : axis                                  { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | axes ',' axis                         { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
axis
    : expr
    | '*'                                   { $$ = build_leaf(p, EXPR_STAR, @$); }
    ;

body: '{' stmts '}'                         { $$ = build_body(p, $stmts, @$); } ;
stmts
    : %empty                                { $$ = list_new(p); }
    | stmt                                  { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | stmts ';'
    | stmts ';' stmt                        { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
stmt
    : core
    | annotations core                      { $$ = build_annotated($core, $annotations, @$); }
    | T_SLIP                                { $$ = build_stmt(p, STMT_ERROR, @$); }
    | error                                 { $$ = build_stmt(p, STMT_ERROR, @$); yyerrok; }
    ;

annotations
    : annotation newline                    { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | annotations annotation newline        { $$ = list_add(p, $1, &$2, sizeof $2); }
    ;
annotation
    : '@' name                              { $$ = (Annotation){ $name, NULL, 0, @$ }; }
    | '@' name '(' args_0 ')'               { $$ = (Annotation){ $name, $args_0->items, $args_0->count, @$ }; }
    ;
newline: %empty | newline ';' ;

core
    : targets '=' expr                      { $$ = build_stmt(p, STMT_ASSIGN, @$); build_targets($$, $targets); build_value(p, $$, $expr); }
    | T_REPEAT name '<' expr body           {
        $$ = build_stmt(p, STMT_REPEAT, @$);
        $$->index = $name;
        build_value(p, $$, $expr);
        $$->body = $body;
    }
    | T_REPEAT name '<' expr T_AT T_STRING[path] body   {
        $$ = build_stmt(p, STMT_REPEAT, @$);
        $$->index = $name;
        build_value(p, $$, $expr);
        build_path(p, $$, @path);
        $$->body = $body;
    }
    | T_REPEAT name[index] T_NAME[word] expr body   {
        $$ = build_stmt(p, STMT_REPEAT, @$);
        $$->index = $index;
        build_range(p, $$, @word, $expr);
        $$->body = $body;
    }
    | T_REPEAT name[index] T_NAME[word] expr T_AT T_STRING[path] body {
        $$ = build_stmt(p, STMT_REPEAT, @$);
        $$->index = $index;
        build_range(p, $$, @word, $expr);
        build_path(p, $$, @path);
        $$->body = $body;
    }
    | T_AT T_STRING[path] body              { $$ = build_stmt(p, STMT_AT, @$); build_path(p, $$, @path); $$->body = $body; }
    | if_stmt
    | T_ASSERT expr                         { $$ = build_stmt(p, STMT_ASSERT, @$); build_value(p, $$, $expr); }
    | T_ASSERT expr ',' T_STRING[message]   {
        $$ = build_stmt(p, STMT_ASSERT, @$);
        build_value(p, $$, $expr);
        $$->message = build_text(p, @message, NULL);
    }
    | T_RETURN exprs                        { $$ = build_stmt(p, STMT_RETURN, @$); build_values($$, $exprs); }
    | targets '=' error                     { $$ = build_stmt(p, STMT_ERROR, @$); build_targets($$, $targets); yyerrok; }
    ;
if_stmt
    : T_IF expr body                        { $$ = build_stmt(p, STMT_IF, @$); build_value(p, $$, $expr); $$->body = $body; }
    | T_IF expr body[yes] T_ELSE body[no]   { $$ = build_stmt(p, STMT_IF, @$); build_value(p, $$, $expr); $$->body = $yes; $$->otherwise = $no; }
    | T_IF expr body[yes] T_ELSE if_stmt[chain] {
        List *one = list_add(p, list_new(p), &$chain, sizeof $chain);
        $$ = build_stmt(p, STMT_IF, @$);
        build_value(p, $$, $expr);
        $$->body = $yes;
        $$->otherwise = build_body(p, one, @chain);
    }
    ;
targets
    : target                                { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | targets ',' target                    { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
target
    : name                                  { $$ = (AssignTarget){ $name, NULL }; }
    | name ':' type                         { $$ = (AssignTarget){ $name, $type }; }
    ;

exprs
    : expr                                  { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | exprs ',' expr                        { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
expr
    : expr T_PIPE postfix                   { $$ = build_pipe(p, $1, $3, @2, @$); }
    | expr T_OTHERWISE expr                 { $$ = build_binary(p, OP2_OTHERWISE, $1, $3, @2, @$); }
    | expr '|' expr                         { $$ = build_binary(p, '|', $1, $3, @2, @$); }
    | expr '&' expr                         { $$ = build_binary(p, '&', $1, $3, @2, @$); }
    | expr T_EQ expr                        { $$ = build_binary(p, OP2_EQ, $1, $3, @2, @$); }
    | expr T_NE expr                        { $$ = build_binary(p, OP2_NE, $1, $3, @2, @$); }
    | expr T_LE expr                        { $$ = build_binary(p, OP2_LE, $1, $3, @2, @$); }
    | expr T_GE expr                        { $$ = build_binary(p, OP2_GE, $1, $3, @2, @$); }
    | expr '<' expr                         { $$ = build_binary(p, '<', $1, $3, @2, @$); }
    | expr '>' expr                         { $$ = build_binary(p, '>', $1, $3, @2, @$); }
    | expr T_RANGE expr                     { $$ = build_binary(p, OP2_RANGE, $1, $3, @2, @$); }
    | expr '+' expr                         { $$ = build_binary(p, '+', $1, $3, @2, @$); }
    | expr '-' expr                         { $$ = build_binary(p, '-', $1, $3, @2, @$); }
    | expr '*' expr                         { $$ = build_binary(p, '*', $1, $3, @2, @$); }
    | expr '/' expr                         { $$ = build_binary(p, '/', $1, $3, @2, @$); }
    | expr '%' expr                         { $$ = build_binary(p, '%', $1, $3, @2, @$); }
    | expr T_AS type                        { $$ = build_as(p, $1, $3, @2, @$); }
    | '!' expr                              { $$ = build_unary(p, '!', $2, @1, @$); }
    | '-' expr %prec NEGATIVE               { $$ = build_unary(p, '-', $2, @1, @$); }
    | postfix '^' expr                      { $$ = build_binary(p, '^', $1, $3, @2, @$); }
    | T_IF expr T_THEN expr T_ELSE expr %prec PREFIX    { $$ = build_if(p, $2, $4, $6, @$); }
    | T_FN '(' fn_params_0 ')' T_GIVES expr %prec PREFIX { $$ = build_fn(p, $fn_params_0, $6, @$); }
    | postfix
    ;
fn_params_0: %empty { $$ = list_new(p); } | fn_params ;
fn_params
    : fn_param                              { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | fn_params ',' fn_param                { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
fn_param
    : name                                  { $$ = (Param){ $name, NULL, NULL, nameless() }; }
    | name '=' expr                         { $$ = (Param){ $name, NULL, $expr, nameless() }; }
    ;
postfix
    : primary
    | postfix '(' args_0 ')'                { $$ = build_call(p, $1, $3, @$); }
    | postfix '[' exprs ']'                 { $$ = build_index(p, $1, $3, @$); }
    | postfix '.' name                      { $$ = build_field(p, $1, $3, @$); }
    ;
primary
    : T_NAME                                { $$ = build_name(p, @$); }
    | T_NUMBER                              { $$ = build_number(p, @$); }
    | T_STRING                              { $$ = build_string(p, @$); }
    | T_TRUE                                { $$ = build_leaf(p, EXPR_TRUE, @$); }
    | T_FALSE                               { $$ = build_leaf(p, EXPR_FALSE, @$); }
    | T_NONE                                { $$ = build_leaf(p, EXPR_NONE, @$); }
    | T_STRING T_SCOPE name                 { $$ = build_scoped(p, @1, $3, @$); }
    | '(' exprs ')'                         { $$ = build_tuple(p, $2, @$); }
    | '[' exprs ']'                         { $$ = build_list(p, $2, @$); }
    ;

args_0: %empty { $$ = list_new(p); } | args ;
args
    : arg                                   { $$ = list_add(p, list_new(p), &$1, sizeof $1); }
    | args ',' arg                          { $$ = list_add(p, $1, &$3, sizeof $3); }
    ;
arg
    : expr                                  { $$ = (Arg){ nameless(), $expr }; }
    | name '=' expr                         { $$ = (Arg){ $name, $expr }; }
    | T_BLOCK '=' expr                      { $$ = (Arg){ build_ident(p, @1), $expr }; }
    ;

%%

static Ident nameless(void) { return (Ident){ NULL, { NULL, 0, 0 } }; }

static int grammar_lex(GRAMMAR_STYPE *value, Span *at, Parser *p) {
    (void)value;
    const Token *t = &p->tokens[p->next];
    p->current = p->next;
    if (t->kind != 0)
        p->next++;
    *at = token_span(p, t);
    return t->kind;
}

/* Bison's symbols as the token kinds that the rest of the front end knows. */
static int yyreport_syntax_error(const yypcontext_t *context, Parser *p) {
    yysymbol_kind_t symbols[YYNTOKENS];
    int expected[YYNTOKENS], n = 0;
    int n_symbols = yypcontext_expected_tokens(context, symbols, YYNTOKENS);
    for (int kind = 0; kind < T_SLIP; kind++)
        for (int i = 0; i < n_symbols; i++)
            if (YYTRANSLATE(kind) == symbols[i] && kind != GRAMMAR_error)
                expected[n++] = kind;
    mistake_report(p, expected, n);
    return 0;
}

/* Bison calls this itself only when its stack would grow beyond YYMAXDEPTH. */
static void grammar_error(Span *at, Parser *p, const char *message) {
    (void)message;
    mistake_depth(p, *at);
}
