/* Has a line break in its content type. */
#define ON_ANSWER backworks_set_content_type(response, "text/plain\r\nX-Evil: 1");
#include "good.h"
