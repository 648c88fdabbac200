import{h as o}from"./chunk-YBKTP2L7.js";var n=o(null),p=o(null);export{n as a,p as b};
