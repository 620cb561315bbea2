// A plugin that does what the endpoint says, for test_kits.py; written with the C++ kit.
#include "backworks_plugin.hpp"

#include <thread>
#include <vector>

BACKWORKS_PLUGIN("probe", "1.2.3", "description": "Does what the endpoint says")

namespace {

class Probe : public backworks::Plugin {
 public:
  Probe(backworks::Host host, std::string_view config) : host_(host), config_(config) {
    host.log(BACKWORKS_INFO, "made");
    if (config.find("refuse") != std::string_view::npos) throw backworks::Error(BACKWORKS_UNAVAILABLE, "not today");
    if (config.find("panic") != std::string_view::npos) throw std::runtime_error("cannot begin");
  }

  ~Probe() override { host_.log(BACKWORKS_INFO, "ended"); }

  std::optional<backworks::Response> process(const backworks::Request &request) override {
    const std::string_view endpoint = request.endpoint;
    if (endpoint == "/echo") return backworks::Response(std::string(request.data));
    if (endpoint == "/none") return std::nullopt;
    if (endpoint == "/config") return backworks::Response(config_);
    if (endpoint == "/method") return backworks::Response(std::string(request.method));
    if (endpoint == "/trace") {
      return backworks::Response(std::string(request.traceparent) + "|" + std::string(request.tracestate));
    }
    if (endpoint == "/deadline") return backworks::Response(request.deadline ? "limited" : "endless");
    if (endpoint == "/rich") {
      backworks::Response response("made", "text/csv");
      response.status = 201;
      return response.header("X-One", "1").header("X-Two", "2");
    }
    if (endpoint == "/smuggle") return backworks::Response("x").header("X-One", "1\r\nX-Two: 2");
    if (endpoint == "/code") throw backworks::Error(std::stoi(std::string(request.data)), "as you wish");
    if (endpoint == "/status") throw backworks::Error(BACKWORKS_NOT_FOUND, "gone", 410);
    if (endpoint == "/panic") throw std::logic_error("the horror: " + std::string(request.data));
    if (endpoint == "/odd") throw 42;
    if (endpoint == "/memory") throw std::bad_alloc();
    if (endpoint == "/unclean") throw std::runtime_error("a \xff\xc3\x28 b \xc3\xa9");
    if (endpoint == "/index") return backworks::Response(std::string(1, std::vector<char>().at(7)));
    if (endpoint == "/thread") {
      std::thread([this] { host_.log(BACKWORKS_WARNING, "from a thread"); }).join();
      return backworks::Response("");
    }
    throw backworks::Error(BACKWORKS_UNIMPLEMENTED, std::string(endpoint));
  }

  std::optional<std::string> health_check() override {
    if (config_.find("sick") != std::string::npos) throw backworks::Error(BACKWORKS_UNAVAILABLE, "a cold");
    return "well";
  }

  void reconfigure(std::string_view config) override {
    if (config.find("refuse") != std::string_view::npos) throw backworks::Error(BACKWORKS_INVALID_ARGUMENT, "no");
    config_ = config;
  }

 private:
  backworks::Host host_;
  std::string config_;
};

}  // namespace

BACKWORKS_PLUGIN_CLASS(Probe)
