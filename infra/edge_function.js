// CloudFront Function (runtime cloudfront-js-2.0), viewer request of /v1/wss*.
//
// API Gateway's WebSocket APIs know no paths: what the path says becomes the
// query string. infra/local/edge.py does the same on one machine, and a test
// holds the two together.
//
// Names and values of the query string come here as the client wrote them,
// percent signs and all. A name is decoded before it is compared, or a client
// could name another job as "job%5Fid" behind the path's back.

var STAGE = "/live";
var UUID = "([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})";
var BARE = new RegExp("^/v1/wss/?$");
var ROUTES = [
  [new RegExp("^/v1/wss/job/" + UUID + "$"), "pipeline"],
  [new RegExp("^/v1/wss/remove-noise/" + UUID + "/status$"), "audo"],
];

function handler(event) {
  var request = event.request;
  var named = BARE.test(request.uri) ? {} : fromPath(request.uri);
  if (named === null) {
    return { statusCode: 404, statusDescription: "Not Found" };
  }
  request.querystring = withoutNamed(request.querystring, named);
  request.uri = STAGE;
  return request;
}

function fromPath(uri) {
  for (var i = 0; i < ROUTES.length; i++) {
    var match = ROUTES[i][0].exec(uri);
    if (match) {
      return { job_id: { value: match[1] }, dialect: { value: ROUTES[i][1] } };
    }
  }
  return null;
}

// The path's job and dialect count, whatever the client's own query says.
function withoutNamed(asked, named) {
  var kept = {};
  Object.keys(asked).forEach(function (name) {
    var meant = decoded(name);
    if (meant !== null && !(meant in named)) {
      kept[name] = asked[name];
    }
  });
  return Object.assign(kept, named);
}

// What the gateway will read, or null where it is no text at all.
function decoded(name) {
  try {
    return decodeURIComponent(name.replace(/\+/g, " "));
  } catch (_) {
    return null;
  }
}
