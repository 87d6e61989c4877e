#include "http/upgraded_stream.hpp"

#include <algorithm>

#include "fibrio/fibrio.hpp"
#include "fibrio/http/websocket.hpp"

namespace fibrio::http {

bool is_peers_affair(const std::exception_ptr& exception, bool has_failed) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::system_error&) {
    return has_failed;
  } catch (const WebSocketError&) {
    return true;
  } catch (const ExceptionGroup& group) {
    return std::all_of(group.exceptions().begin(), group.exceptions().end(),
                       [has_failed](const auto& part) { return is_peers_affair(part, has_failed); });
  } catch (...) {
    return false;
  }
}

}  // namespace fibrio::http
