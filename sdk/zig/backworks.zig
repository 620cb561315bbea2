// SPDX-License-Identifier: MIT

//! The Zig kit for Backworks plugins (Zig 0.14 and later).
//!
//! A plugin is a type, each value of it is an instance, and errors map to codes:
//!
//! ```zig
//! const backworks = @import("backworks");
//!
//! pub const panic = backworks.panic;
//!
//! comptime {
//!     backworks.exportPlugin(Echo, .{
//!         .name = "echo",
//!         .version = "1.0.0",
//!         .manifest =
//!         \\"description": "Returns what it receives"
//!         ,
//!     });
//! }
//!
//! const Echo = struct {
//!     pub fn init(_: backworks.Host, _: []const u8, _: *backworks.Response) !Echo {
//!         return .{};
//!     }
//!
//!     pub fn process(_: *Echo, request: *const backworks.Request, response: *backworks.Response) !void {
//!         if (request.data.len == 0) return response.fail(error.InvalidArgument, "there is nothing to echo", .{});
//!         try response.write(request.data);
//!     }
//! };
//! ```
//!
//! `backworks_plugin.h` is the contract; the comments below quote it. The plugin must link the C library
//! (`.link_libc = true`), because responses are allocated with malloc.
//!
//! A Zig panic (an index out of bounds, `unreachable`) cannot be caught: it ends the process. With
//! `isolation: process`, the default, that is only the worker process, and the host keeps running.

const std = @import("std");
const builtin = @import("builtin");

/// `BACKWORKS_ABI_VERSION`.
pub const abi_version: u32 = 1;

/// The errors that map to codes of the ABI. `error.OutOfMemory` maps to ResourceExhausted, and every other error to
/// Unknown, with its name as the message.
pub const Error = error{
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
};

/// The severity of a log record: the numbers of Python's logging module.
pub const Level = enum {
    debug,
    info,
    warning,
    fault,
    critical,

    fn number(level: Level) u32 {
        return switch (level) {
            .debug => 10,
            .info => 20,
            .warning => 30,
            .fault => 40,
            .critical => 50,
        };
    }
};

/// Writes to the host's log. Cheap to copy; usable from any thread until `deinit` returns.
pub const Host = struct {
    /// If null, all records are discarded, for tests.
    raw: ?*const RawHost = null,

    /// Writes one record under the plugin's name. Discards the record if memory runs out.
    pub fn log(host: Host, level: Level, comptime format: []const u8, arguments: anytype) void {
        const raw = host.raw orelse return;
        // "A field may be read only if struct_size covers it."
        if (!covers(RawHost, "log", raw.struct_size)) return;
        const text = formatted(format, arguments) orelse return;
        defer free(text.ptr);
        raw.log(raw.context, level.number(), text.ptr, text.len);
    }
};

/// One request. Valid only during the call: copy whatever you need afterwards.
pub const Request = struct {
    /// The route, as written in the configuration.
    endpoint: []const u8,
    /// In upper case.
    method: []const u8,
    /// Any bytes.
    data: []const u8,
    /// Nanoseconds left when the call begins, or null for no limit.
    time_left_ns: ?u64 = null,
    /// The W3C Trace Context, or empty.
    traceparent: []const u8 = "",
    tracestate: []const u8 = "",
};

/// One response, or one error message. An unwritten response means "not mine".
pub const Response = struct {
    status: u16 = 0,
    content_type: []const u8 = "",
    data: ?Text = null,
    headers: ?Text = null,
    /// Whether `fail` set the data.
    failed: bool = false,

    /// Responds with these bytes, which may be empty.
    pub fn write(response: *Response, bytes: []const u8) error{OutOfMemory}!void {
        const text = allocate(bytes.len) orelse return error.OutOfMemory;
        @memcpy(text.ptr[0..bytes.len], bytes);
        response.set(text);
    }

    /// Responds with a text formatted as by `std.fmt`.
    pub fn print(response: *Response, comptime format: []const u8, arguments: anytype) error{OutOfMemory}!void {
        response.set(formatted(format, arguments) orelse return error.OutOfMemory);
    }

    /// Sets the media type; the host's default is `application/json`. Known at compile time, and so in static memory.
    pub fn setContentType(response: *Response, comptime content_type: []const u8) void {
        response.content_type = content_type;
    }

    /// Sets the HTTP status: 200 to 599.
    pub fn setStatus(response: *Response, status: u16) void {
        response.status = status;
    }

    /// Adds one header field. A control character, with which a value could inject another field, is `error.Internal`.
    pub fn addHeader(response: *Response, name: []const u8, value: []const u8) error{ OutOfMemory, Internal }!void {
        for (name) |byte| if (byte <= ' ' or byte == ':' or byte >= 0x7f) return error.Internal;
        for (value) |byte| if ((byte < ' ' and byte != '\t') or byte == 0x7f) return error.Internal;
        if (name.len == 0) return error.Internal;
        const before: []const u8 = if (response.headers) |text| text.ptr[0..text.len] else "";
        const text = formatted("{s}{s}: {s}\r\n", .{ before, name, value }) orelse return error.OutOfMemory;
        if (response.headers) |old| free(old.ptr);
        response.headers = text;
    }

    /// Sets the error message and returns the error: `return response.fail(error.NotFound, "no {s}", .{name});`
    pub fn fail(response: *Response, err: Error, comptime format: []const u8, arguments: anytype) Error {
        if (formatted(format, arguments)) |text| {
            response.set(text);
            response.failed = true;
        }
        return err;
    }

    /// Frees all memory of the response; for tests.
    pub fn deinit(response: *Response) void {
        if (response.data) |text| free(text.ptr);
        if (response.headers) |text| free(text.ptr);
        response.* = .{};
    }

    fn set(response: *Response, text: Text) void {
        if (response.data) |old| free(old.ptr);
        response.data = text;
        response.failed = false;
    }
};

/// The identity of the plugin.
pub const Identity = struct {
    name: [:0]const u8,
    version: [:0]const u8,
    /// More members of the manifest, as JSON without braces around it.
    manifest: []const u8 = "",
};

/// Exports `P` as the plugin. Call it once per library.
///
/// `P` has `init(Host, []const u8, *Response) !P`, which takes the configuration, a JSON object, and
/// `process(*P, *const Request, *Response) !void`. It may have `deinit(*P) void`,
/// `healthCheck(*P, *Response) !void` and `reconfigure(*P, []const u8, *Response) !void`. Calls to `process` and
/// `healthCheck` run concurrently, unless the manifest says `"thread_safe": false`.
pub fn exportPlugin(comptime P: type, comptime identity: Identity) void {
    const E = Exports(P, identity);
    @export(&E.abiVersion, .{ .name = "backworks_plugin_abi_version" });
    @export(&E.name, .{ .name = "backworks_plugin_name" });
    @export(&E.version, .{ .name = "backworks_plugin_version" });
    @export(&E.init, .{ .name = "backworks_plugin_init" });
    @export(&E.process, .{ .name = "backworks_plugin_process_endpoint_data" });
    @export(&E.freeString, .{ .name = "backworks_plugin_free_string" });
    @export(&E.shutdown, .{ .name = "backworks_plugin_shutdown" });
    if (@hasDecl(P, "healthCheck")) @export(&E.healthCheck, .{ .name = "backworks_plugin_health_check" });
    if (@hasDecl(P, "reconfigure")) @export(&E.reconfigure, .{ .name = "backworks_plugin_reconfigure" });
    if (builtin.zig_backend == .stage2_llvm) {
        @export(&E.manifest, .{ .name = "backworks_plugin_manifest", .section = manifest_section });
    } else if (!builtin.is_test) {
        @compileError("the manifest needs its section, which this backend cannot make: use LLVM (-fllvm, .use_llvm)");
    }
}

/// A panic handler for the plugin's root file: `pub const panic = backworks.panic;`. It writes the message to standard
/// error, which the host logs, and ends the process. Zig's own handler also prints the stack, which takes half a minute
/// to compile.
pub const panic = std.debug.FullPanic(panicked);

fn panicked(message: []const u8, _: ?usize) noreturn {
    for ([_][]const u8{ "panic: ", message, "\n" }) |part| _ = write(2, part.ptr, part.len);
    abort();
}

const manifest_section = switch (builtin.object_format) {
    .macho => "__DATA,__bworks",
    else => ".bworks",
};

fn Exports(comptime P: type, comptime identity: Identity) type {
    const more = if (identity.manifest.len > 0) ", " ++ identity.manifest else "";
    const json = "{\"abi\": 1, \"name\": \"" ++ identity.name ++ "\", \"version\": \"" ++ identity.version ++
        "\"" ++ more ++ "}";
    if (json.len > 262_144) @compileError("a manifest has at most 262,144 bytes");

    return struct {
        const Instance = struct { plugin: P, host: Host };

        const manifest: extern struct { magic: [8]u8, size: u32, reserved: u32, text: [json.len]u8 } = .{
            .magic = "BWMANIF1".*,
            .size = json.len,
            .reserved = 0,
            .text = json[0..json.len].*,
        };

        fn abiVersion() callconv(.c) u32 {
            return abi_version;
        }

        fn name() callconv(.c) [*:0]const u8 {
            return identity.name.ptr;
        }

        fn version() callconv(.c) [*:0]const u8 {
            return identity.version.ptr;
        }

        fn init(
            host: ?*const RawHost,
            config: ?[*]const u8,
            config_size: usize,
            out: ?*?*Instance,
            raw: ?*RawResponse,
        ) callconv(.c) i32 {
            var response: Response = .{};
            const made = out orelse return codeOf(error.InvalidArgument);
            made.* = null; // "On failure, ... leaves *out NULL"
            const instance = make(.{ .raw = host }, config, config_size, &response) catch |err| {
                return respond(raw, err, &response);
            };
            response.deinit();
            made.* = instance;
            return 0;
        }

        fn make(host: Host, config: ?[*]const u8, config_size: usize, response: *Response) anyerror!*Instance {
            const text = try borrow(config, config_size);
            const instance = try std.heap.c_allocator.create(Instance);
            errdefer std.heap.c_allocator.destroy(instance);
            instance.* = .{ .plugin = try P.init(host, text, response), .host = host };
            return instance;
        }

        fn process(
            given: ?*Instance,
            request: ?*const RawRequest,
            raw: ?*RawResponse,
        ) callconv(.c) i32 {
            var response: Response = .{};
            return respond(raw, ask(given, request, &response), &response);
        }

        fn ask(given: ?*Instance, raw: ?*const RawRequest, response: *Response) anyerror!void {
            const instance = given orelse return error.InvalidArgument;
            const request = try readRequest(raw orelse return error.InvalidArgument);
            return instance.plugin.process(&request, response);
        }

        fn healthCheck(given: ?*Instance, raw: ?*RawResponse) callconv(.c) i32 {
            var response: Response = .{};
            const instance = given orelse return codeOf(error.InvalidArgument);
            return respond(raw, instance.plugin.healthCheck(&response), &response);
        }

        fn reconfigure(
            given: ?*Instance,
            config: ?[*]const u8,
            config_size: usize,
            raw: ?*RawResponse,
        ) callconv(.c) i32 {
            var response: Response = .{};
            const instance = given orelse return codeOf(error.InvalidArgument);
            const text = borrow(config, config_size) catch |err| return respond(raw, err, &response);
            instance.plugin.reconfigure(text, &response) catch |err| return respond(raw, err, &response);
            response.deinit();
            return 0;
        }

        fn freeString(data: ?[*]u8, _: usize) callconv(.c) void {
            free(data);
        }

        fn shutdown(given: ?*Instance) callconv(.c) i32 {
            const instance = given orelse return codeOf(error.InvalidArgument);
            if (@hasDecl(P, "deinit")) instance.plugin.deinit();
            std.heap.c_allocator.destroy(instance);
            return 0;
        }
    };
}

/// Passes a response or a message to the host, and returns the code. The data, the media type and the header fields are
/// one allocation: "static, or in the same allocation as data".
fn respond(given: ?*RawResponse, result: anyerror!void, response: *Response) i32 {
    defer response.deinit();
    var code: i32 = 0;
    if (result) |_| {} else |err| {
        code = codeOf(err);
        // A response that the plugin had begun to write is not an error message.
        if (!response.failed) response.deinit();
        if (code == codeOf(error.Unknown) and !response.failed) response.write(@errorName(err)) catch {};
        if (response.data) |text| cleanUtf8(text.ptr[0..text.len]);
        response.content_type = "";
        if (response.headers) |text| free(text.ptr);
        response.headers = null;
    }
    var data = response.data orelse return code;
    // A failure to pass on the response is an error too, but it must not replace the plugin's own error.
    const raw = given orelse return if (code == 0) codeOf(error.Internal) else code;
    if (!covers(RawResponse, "size", raw.struct_size)) return if (code == 0) codeOf(error.Internal) else code;
    const size = data.len;
    if (response.headers) |headers| {
        const larger = realloc(data.ptr, size + headers.len) orelse return if (code == 0) codeOf(error.OutOfMemory) else code;
        data.ptr = larger;
        response.data = data;
        @memcpy(larger[size .. size + headers.len], headers.ptr[0..headers.len]);
        if (covers(RawResponse, "headers_size", raw.struct_size)) {
            raw.headers = larger + size;
            raw.headers_size = headers.len;
        }
    }
    if (response.content_type.len > 0 and covers(RawResponse, "content_type_size", raw.struct_size)) {
        raw.content_type = response.content_type.ptr;
        raw.content_type_size = response.content_type.len;
    }
    raw.http_status = response.status;
    raw.data = data.ptr;
    raw.size = size;
    response.data = null; // the host owns it now
    return code;
}

fn codeOf(err: anyerror) i32 {
    return switch (err) {
        error.Cancelled => 1,
        error.InvalidArgument => 3,
        error.DeadlineExceeded => 4,
        error.NotFound => 5,
        error.AlreadyExists => 6,
        error.PermissionDenied => 7,
        error.ResourceExhausted, error.OutOfMemory => 8,
        error.FailedPrecondition => 9,
        error.Aborted => 10,
        error.OutOfRange => 11,
        error.Unimplemented => 12,
        error.Internal => 13,
        error.Unavailable => 14,
        error.DataLoss => 15,
        error.Unauthenticated => 16,
        else => 2,
    };
}

/// "All text is UTF-8": in a message that is not, all non-ASCII bytes become question marks.
fn cleanUtf8(text: []u8) void {
    if (std.unicode.utf8ValidateSlice(text)) return;
    for (text) |*byte| if (byte.* >= 0x80) {
        byte.* = '?';
    };
}

fn borrow(data: ?[*]const u8, size: usize) error{InvalidArgument}![]const u8 {
    if (size == 0) return "";
    return (data orelse return error.InvalidArgument)[0..size];
}

/// Reads the fields that struct_size covers: a pointer and its size together, or neither.
fn readRequest(raw: *const RawRequest) error{InvalidArgument}!Request {
    const size = raw.struct_size;
    var request: Request = .{ .endpoint = "", .method = "", .data = "" };
    inline for (.{ "endpoint", "method", "data", "traceparent", "tracestate" }) |field| {
        if (covers(RawRequest, field ++ "_size", size)) {
            @field(request, field) = try borrow(@field(raw, field), @field(raw, field ++ "_size"));
        }
    }
    if (covers(RawRequest, "time_left_ns", size) and raw.time_left_ns != 0) request.time_left_ns = raw.time_left_ns;
    return request;
}

fn covers(comptime S: type, comptime field: []const u8, struct_size: u32) bool {
    return @offsetOf(S, field) + @sizeOf(@TypeOf(@field(@as(S, undefined), field))) <= struct_size;
}

/// Memory from the C library, which `backworks_plugin_free_string` frees.
const Text = struct { ptr: [*]u8, len: usize };

extern "c" fn malloc(size: usize) ?[*]u8;
extern "c" fn realloc(memory: ?[*]u8, size: usize) ?[*]u8;
extern "c" fn free(memory: ?[*]u8) void;
extern "c" fn abort() noreturn;
extern "c" fn write(descriptor: c_int, data: [*]const u8, size: usize) isize;

/// Allocates an extra byte, so that an empty text has an address too.
fn allocate(size: usize) ?Text {
    return .{ .ptr = malloc(size + 1) orelse return null, .len = size };
}

fn formatted(comptime format: []const u8, arguments: anytype) ?Text {
    const text = allocate(@intCast(std.fmt.count(format, arguments))) orelse return null;
    _ = std.fmt.bufPrint(text.ptr[0..text.len], format, arguments) catch {
        free(text.ptr); // the value formats itself differently each time
        return null;
    };
    return text;
}

/// The structures of the header, field by field.
pub const RawHost = extern struct {
    struct_size: u32,
    abi_version: u32,
    context: ?*anyopaque,
    log: *const fn (?*anyopaque, u32, [*]const u8, usize) callconv(.c) void,
    get_extension: *const fn (?*anyopaque, [*:0]const u8) callconv(.c) ?*const anyopaque,
};

const RawRequest = extern struct {
    struct_size: u32,
    reserved: u32,
    endpoint: ?[*]const u8,
    endpoint_size: usize,
    method: ?[*]const u8,
    method_size: usize,
    data: ?[*]const u8,
    data_size: usize,
    time_left_ns: u64,
    traceparent: ?[*]const u8,
    traceparent_size: usize,
    tracestate: ?[*]const u8,
    tracestate_size: usize,
};

const RawResponse = extern struct {
    struct_size: u32,
    http_status: u32,
    data: ?[*]u8,
    size: usize,
    content_type: ?[*]const u8,
    content_type_size: usize,
    headers: ?[*]const u8,
    headers_size: usize,
};

// The numbers from section 4 of the header.
comptime {
    if (@sizeOf(usize) == 8) {
        std.debug.assert(@sizeOf(RawHost) == 32);
        std.debug.assert(@offsetOf(RawHost, "log") == 16);
        std.debug.assert(@offsetOf(RawHost, "get_extension") == 24);
        std.debug.assert(@sizeOf(RawRequest) == 96);
        std.debug.assert(@offsetOf(RawRequest, "endpoint") == 8);
        std.debug.assert(@offsetOf(RawRequest, "data_size") == 48);
        std.debug.assert(@offsetOf(RawRequest, "time_left_ns") == 56);
        std.debug.assert(@offsetOf(RawRequest, "tracestate_size") == 88);
        std.debug.assert(@sizeOf(RawResponse) == 56);
        std.debug.assert(@offsetOf(RawResponse, "http_status") == 4);
        std.debug.assert(@offsetOf(RawResponse, "size") == 16);
        std.debug.assert(@offsetOf(RawResponse, "headers_size") == 48);
    }
}
