//! A plugin that does what the endpoint says, for test_kits.py; written with the Zig kit.

const std = @import("std");
const backworks = @import("backworks");

pub const panic = backworks.panic;

comptime {
    backworks.exportPlugin(Probe, .{
        .name = "probe",
        .version = "1.2.3",
        .manifest =
        \\"description": "Does what the endpoint says"
        ,
    });
}

fn has(text: []const u8, part: []const u8) bool {
    return std.mem.indexOf(u8, text, part) != null;
}

const Probe = struct {
    host: backworks.Host,
    config: []const u8,

    pub fn init(host: backworks.Host, config: []const u8, response: *backworks.Response) !Probe {
        host.log(.info, "made", .{});
        if (has(config, "refuse")) return response.fail(error.Unavailable, "not today", .{});
        return .{ .host = host, .config = try std.heap.c_allocator.dupe(u8, config) };
    }

    pub fn deinit(probe: *Probe) void {
        probe.host.log(.info, "ended", .{});
        std.heap.c_allocator.free(probe.config);
    }

    pub fn process(probe: *Probe, request: *const backworks.Request, response: *backworks.Response) !void {
        const is = struct {
            endpoint: []const u8,
            fn at(self: @This(), endpoint: []const u8) bool {
                return std.mem.eql(u8, self.endpoint, endpoint);
            }
        }{ .endpoint = request.endpoint };
        if (is.at("/echo")) return response.write(request.data);
        if (is.at("/none")) return;
        if (is.at("/config")) return response.write(probe.config);
        if (is.at("/method")) return response.write(request.method);
        if (is.at("/trace")) return response.print("{s}|{s}", .{ request.traceparent, request.tracestate });
        if (is.at("/deadline")) return response.write(if (request.time_left_ns == null) "endless" else "limited");
        if (is.at("/rich")) {
            response.setStatus(201);
            response.setContentType("text/csv");
            try response.addHeader("X-One", "1");
            try response.addHeader("X-Two", "2");
            return response.write("made");
        }
        if (is.at("/smuggle")) return response.addHeader("X-One", "1\r\nX-Two: 2");
        if (is.at("/code")) {
            const errors = [_]backworks.Error{
                error.Cancelled,          error.Unknown,       error.InvalidArgument,  error.DeadlineExceeded,
                error.NotFound,           error.AlreadyExists, error.PermissionDenied, error.ResourceExhausted,
                error.FailedPrecondition, error.Aborted,       error.OutOfRange,       error.Unimplemented,
                error.Internal,           error.Unavailable,   error.DataLoss,         error.Unauthenticated,
            };
            const number = try std.fmt.parseInt(usize, request.data, 10);
            if (number < 1 or number > errors.len) return error.NumberOutOfTable;
            return response.fail(errors[number - 1], "as you wish", .{});
        }
        if (is.at("/status")) {
            response.setStatus(410);
            return response.fail(error.NotFound, "gone", .{});
        }
        if (is.at("/memory")) return error.OutOfMemory;
        if (is.at("/half")) {
            response.setStatus(201);
            response.setContentType("text/csv");
            try response.addHeader("X-One", "1");
            try response.write("half an answer");
            return error.NotFound;
        }
        if (is.at("/unclean")) return response.fail(error.Internal, "a \xff\xc3\x28 b", .{});
        if (is.at("/crash")) {
            if (request.data.len < 100) @panic("the horror");
        }
        if (is.at("/index")) return response.write(request.data[request.data.len + 7 ..]);
        if (is.at("/thread")) {
            const thread = try std.Thread.spawn(.{}, talk, .{probe.host});
            thread.join();
            return response.write("");
        }
        return response.fail(error.Unimplemented, "{s}", .{request.endpoint});
    }

    fn talk(host: backworks.Host) void {
        host.log(.warning, "from a thread", .{});
    }

    pub fn healthCheck(probe: *Probe, response: *backworks.Response) !void {
        if (has(probe.config, "sick")) return response.fail(error.Unavailable, "a cold", .{});
        try response.write("well");
    }

    pub fn reconfigure(probe: *Probe, config: []const u8, response: *backworks.Response) !void {
        if (has(config, "refuse")) return response.fail(error.InvalidArgument, "no", .{});
        const copy = try std.heap.c_allocator.dupe(u8, config);
        std.heap.c_allocator.free(probe.config);
        probe.config = copy;
    }
};
