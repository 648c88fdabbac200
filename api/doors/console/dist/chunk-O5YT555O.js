import{l as o}from"./chunk-EOFX5FCR.js";var n=o(null),p=o(null);export{n as a,p as b};
