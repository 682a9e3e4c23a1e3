/* SPDX-License-Identifier: MIT */
#include "host/json.h"
#include "host/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    char *plain = strdup(text);
    for (char *p = plain; p && *p; p++)
        if (*p & 0x80)
            *p = '?';
    value = json_string(plain);
    free(plain);
    return value;
}

static void set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, json_text(text));
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void set_bool(json_t *object, const char *key, bool value)
{
    json_object_set_new(object, key, json_boolean(value));
}

static void set_id(json_t *object, const char *key, uint16_t id)
{
    char text[8];
    snprintf(text, sizeof text, "%04x", id);
    set_text(object, key, text);
}

/* --- printing ------------------------------------------------------------------------------------ */

static bool printed;

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (!memory)
        report_no_memory();
    return memory;
}

void json_setup(void)
{
    json_set_alloc_funcs(allocate, free);
}

void json_print(json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(value);
    printed = true;
}

void json_print_failure(int code, bool in_array)
{
    if (printed)
        return;
    json_t *one = json_object();
    set_bool(one, "ok", false);
    set_number(one, "exit", (uint64_t)code);
    set_text(one, "message", report_last_error());
    json_print(in_array ? json_pack("[o]", one) : one);
}

/* --- boards -------------------------------------------------------------------------------------- */

static json_t *runs_json(const struct memory_map *map)
{
    json_t *all = json_array();
    for (size_t i = 0; i < map->count; i++) {
        const struct memory_run *run = &map->runs[i];
        json_t *one = json_object();
        set_number(one, "address", run->addr);
        set_number(one, "count", run->count);
        set_number(one, "size", run->size);
        set_bool(one, "readable", run->flags & MEMORY_READ);
        set_bool(one, "erasable", run->flags & MEMORY_ERASE);
        set_bool(one, "writable", run->flags & MEMORY_WRITE);
        json_array_append_new(all, one);
    }
    return all;
}

static json_t *alts_json(const struct device *d)
{
    json_t *all = json_array();
    for (size_t i = 0; i < d->alt_count; i++) {
        json_t *one = json_object();
        set_number(one, "number", d->alts[i].number);
        set_text(one, "name", d->alts[i].text);
        json_object_set_new(one, "memory", runs_json(&d->alts[i].map));
        json_array_append_new(all, one);
    }
    return all;
}

static json_t *where_json(const struct link_device *where)
{
    json_t *board = json_object();
    set_id(board, "vendor", where->vendor);
    set_id(board, "product", where->product);
    set_text(board, "path", where->path);
    return board;
}

static void set_device(json_t *board, const struct device *d)
{
    set_text(board, "serial", d->serial);
    set_text(board, "name", d->name);
    set_text(board, "manufacturer", d->manufacturer);
    set_number(board, "bcdDevice", d->version);
    set_number(board, "bcdDFUVersion", d->dfu_version);
    set_number(board, "bmAttributes", d->attributes);
    set_number(board, "wTransferSize", d->transfer_size);
    json_object_set_new(board, "alternates", alts_json(d));
}

static json_t *board_json(const struct session_seen *s)
{
    json_t *board = where_json(&s->where);
    if (s->server)
        set_text(board, "server", s->server);
    set_text(board, "mode", s->error ? "unknown" : s->device.runtime ? "application" : "dfu");
    if (s->error)
        set_text(board, "message", s->why);
    else
        set_device(board, &s->device);
    return board;
}

static json_t *protection_json(const struct protection *p)
{
    static const char *const reading[] = {[PROTECTION_OFF] = "allowed",
        [PROTECTION_ON] = "protected",
        [PROTECTION_FOR_EVER] = "protected for ever"};
    json_t *all = json_object(), *ranges = json_array();
    for (size_t i = 0; i < p->count; i++) {
        json_t *one = json_object();
        set_number(one, "address", p->ranges[i].begin);
        set_number(one, "size", p->ranges[i].end - p->ranges[i].begin);
        json_array_append_new(ranges, one);
    }
    set_text(all, "reading", reading[p->reading]);
    json_object_set_new(all, "writeProtected", ranges);
    return all;
}

void json_print_info(const struct fleet_member *m, const struct protection *protection)
{
    const struct caboose_report *r = caboose_job_report(m->job);
    json_t *board = where_json(&m->where);
    set_bool(board, "ok", true);
    set_device(board, &r->board);
    if (r->found) {
        set_text(board, "state", caboose_state_name(r->found_state));
        set_number(board, "bStatus", r->found_status);
    }
    set_bool(board, "readable", !r->unreadable);
    json_object_set_new(
        board, "protection", protection ? protection_json(protection) : json_null());
    if (r->has_program) {
        json_t *program = json_object();
        set_number(program, "address", r->addr);
        set_number(program, "stack", r->stack);
        set_number(program, "reset", r->entry);
        set_bool(program, "sane", !r->error);
        set_text(program, "message", r->message);
        json_object_set_new(board, "program", program);
    }
    json_print(board);
}

void json_print_boards(const struct session_seen *seen, int count)
{
    json_t *all = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(all, board_json(&seen[i]));
    json_print(all);
}

/* --- results ------------------------------------------------------------------------------------- */

static const char *error_name(enum caboose_error error)
{
    static const char *const names[] = {[CABOOSE_OK] = "none",
        [CABOOSE_GONE] = "gone",
        [CABOOSE_DENIED] = "denied",
        [CABOOSE_REFUSED] = "refused",
        [CABOOSE_PROTOCOL] = "protocol",
        [CABOOSE_MISMATCH] = "mismatch",
        [CABOOSE_UNFIT] = "unfit",
        [CABOOSE_MEMORY] = "memory",
        [CABOOSE_NOT_DFU] = "not-dfu"};
    return names[error];
}

static json_t *page_json(const struct plan_page *page)
{
    json_t *one = json_object();
    set_number(one, "address", page->addr);
    set_number(one, "size", page->size);
    set_number(one, "alternate", page->alt);
    set_bool(one, "erase", page->erase);
    set_bool(one, "write", page->write);
    set_number(one, "kept", page->kept);
    set_number(one, "lost", page->lost);
    return one;
}

static json_t *plan_json(const struct plan *plan)
{
    json_t *all = json_object(), *pages = json_array();
    for (size_t i = 0; i < plan->page_count; i++)
        json_array_append_new(pages, page_json(&plan->pages[i]));
    set_number(all, "erase", plan->bytes[STEP_ERASE]);
    set_number(all, "write", plan->bytes[STEP_WRITE]);
    set_number(all, "verify", plan->bytes[STEP_VERIFY]);
    json_object_set_new(all, "pages", pages);
    return all;
}

static json_t *result_json(
    const struct fleet_member *m, session_success *success, int (*code)(enum caboose_error error))
{
    const struct caboose_report *r = caboose_job_report(m->job);
    static const char *const departures[] = {
        [CABOOSE_STAYED] = "stayed", [CABOOSE_ANNOUNCED] = "announced", [CABOOSE_LEFT] = "left"};
    char text[CABOOSE_TEXT];
    json_t *one = where_json(&m->where);
    if (r->error)
        snprintf(text, sizeof text, "%s", r->message);
    else
        success(r, text, sizeof text);
    if (m->server)
        set_text(one, "server", m->server);
    set_text(one, "serial", m->board.serial);
    set_bool(one, "ok", r->error == CABOOSE_OK);
    set_text(one, "error", error_name(r->error));
    set_number(one, "exit", (uint64_t)code(r->error));
    set_text(one, "message", text);
    set_number(one, "address", r->addr);
    set_text(one, "departure", departures[r->departure]);
    set_number(one, "attempts", r->attempts);
    json_object_set_new(one, "plan", plan_json(&r->plan));
    return one;
}

void json_print_results(
    const struct fleet *fleet, session_success *success, int (*code)(enum caboose_error error))
{
    json_t *all = json_array();
    for (size_t i = 0; i < fleet->count; i++)
        json_array_append_new(all, result_json(&fleet->members[i], success, code));
    json_print(all);
}
